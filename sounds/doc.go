// Package sounds holds the prompts that hotdeskd speaks: one voice per language,
// embedded as G.711 so that playing needs no codec at run time.
//
// In the flow it stands below ivr, which names prompts by key ("enter_pin") and
// plays the bytes it gets. The texts are in prompts.tsv, the recipe in make.sh
// and README.md, the origin of every voice in LICENSES.md.
//
// It never decides what is said, never fails a call because a prompt is missing
// (Lookup falls back to English, Tone is always there), and never speaks at
// build time: the audio is committed.
package sounds
