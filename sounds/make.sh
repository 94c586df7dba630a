#!/bin/bash
# Makes the embedded prompts from prompts.tsv. Only maintainers run it (make
# sounds), and only after the table or a voice changed; the recipe and its
# reasons are in README.md. It needs sox, and the speech engine of each language.
set -euo pipefail
export LC_ALL=C.UTF-8
cd "$(dirname "$0")"

# One voice speaks one language: language, engine, voice.
packs='en rhvoice Clb
it pico it-IT
ru rhvoice Anna'

# Voices whose output may be redistributed with the product (LICENSES.md says
# under which terms). Everything else fails here, before it can be committed.
allowed='rhvoice/Clb rhvoice/Bdl rhvoice/Slt rhvoice/Alan rhvoice/Anna rhvoice/Elena rhvoice/Irina rhvoice/Aleksandr rhvoice/Leticia-F123
pico/it-IT pico/de-DE pico/fr-FR pico/es-ES flite/rms espeak-ng/nl espeak-ng/pl'

target=-23  # LUFS, the mean over all of one voice's prompts
peak=-3     # dBFS, no sample of any prompt may be above it

die() { echo "make.sh: $*" >&2; exit 1; }

speak() { # engine voice text file.wav pitch-in-percent
	case $1 in
	rhvoice) RHVoice-test -p "${2,,}" -t "$5" -o "$4" <<<"$3" ;;
	pico) pico2wave -l "$2" -w "$4" "<pitch level='$5'>$3</pitch>" ;;
	flite) flite -voice "$2" -t "$3" -o "$4" ;;
	espeak-ng) espeak-ng -v "$2" -p $(($5 / 2)) -w "$4" "$3" ;;
	*) die "no such engine: $1" ;;
	esac
}

engine_version() {
	case $1 in
	rhvoice) dpkg-query -W -f '${Package} ${Version}' rhvoice ;;
	pico) dpkg-query -W -f '${Package} ${Version}' libttspico-utils ;;
	*) dpkg-query -W -f '${Package} ${Version}' "$1" ;;
	esac
}

# loudness of a file as in ITU-R BS.1770: the two K-weighting filters at 48 kHz,
# then the mean square. The gate is left out because the silence is trimmed.
loudness() {
	sox -R "$1" -n rate -v 48000 \
		biquad 1.53512485958697 -2.69169618940638 1.19839281085285 1 -1.69065929318241 0.73248077421585 \
		biquad 1 -2 1 1 -1.99004745483398 0.99007225036621 \
		stats 2>&1 | awk '/^RMS lev dB/ { printf "%.2f\n", $4 - 0.691 }'
}

sha() { sha256sum | cut -d' ' -f1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

{
	printf '{\n  "sox": "%s",\n  "languages": {' "$(dpkg-query -W -f '${Version}' sox)"
	separator=
	while read -r lang engine voice; do
		grep -qw -- "$engine/$voice" <<<"$allowed" || die "voice $engine/$voice is not on the list of allowed voices"
		column=$(head -1 prompts.tsv | tr '\t' '\n' | grep -nx "$lang" | cut -d: -f1) || die "prompts.tsv has no column $lang"
		mkdir -p "$work/$lang" "$lang"
		rm -f "$lang"/*.ulaw

		while IFS=$'\t' read -r key text; do
			pitch=100
			[[ $key =~ ^d[0-9]f$ ]] && pitch=90 # the last digit of a number falls
			speak "$engine" "$voice" "$text" "$work/raw.wav" $pitch >/dev/null
			# Trim at -50 dB from both ends, take off the clicks, leave a breath.
			sox -R "$work/raw.wav" -c 1 -b 32 "$work/trimmed.wav" highpass 80 \
				silence 1 0.005 -50d reverse silence 1 0.005 -50d reverse
			sox -R "$work/trimmed.wav" "$work/$lang/$key.wav" fade t 0.005 0 0.015 pad 0.02 0.06
		done < <(tail -n +2 prompts.tsv | cut -f "1,$column")

		# One gain for the voice: single digits are too short to be measured
		# one by one and would jump against each other.
		sox -R "$work/$lang"/*.wav "$work/all.wav"
		gain=$(awk -v l="$(loudness "$work/all.wav")" -v t=$target 'BEGIN { printf "%.2f", t - l }')

		printf '%s\n    "%s": {\n      "voice": "%s/%s",\n      "engine": "%s",\n      "gain_db": %s,\n      "prompts": {' \
			"$separator" "$lang" "$engine" "$voice" "$(engine_version "$engine")" "$gain"
		comma=
		while IFS=$'\t' read -r key text; do
			sox -R "$work/$lang/$key.wav" -b 16 "$work/8k.wav" gain "$gain" rate -v 8000 dither
			level=$(sox "$work/8k.wav" -n stats 2>&1 | awk '/^Pk lev dB/ { print $4 }')
			awk -v l="$level" -v p=$peak 'BEGIN { exit !(l <= p) }' || die "$lang/$key peaks at $level dBFS, above $peak"
			# -D: dithering to 8 bits would hiss, and differ at every run.
			sox -R -D "$work/8k.wav" -t ul "$lang/$key.ulaw"
			printf '%s\n        "%s": {"text": "%s", "audio": "%s"}' "$comma" "$key" \
				"$(printf %s "$text" | sha)" "$(sha <"$lang/$key.ulaw")"
			comma=,
		done < <(tail -n +2 prompts.tsv | cut -f "1,$column")
		printf '\n      }\n    }'
		separator=,
	done <<<"$packs"
	printf '\n  }\n}\n'
} >"$work/manifest.json"
cp "$work/manifest.json" manifest.json
