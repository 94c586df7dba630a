// Package g722 is ITU-T G.722 at 64 kbit/s, the part of it that telephone speech needs.
//
// The codec splits its 16000 samples a second into two bands of 8000 and codes each by
// itself. Prompts have 8000 samples a second, all of them lower band: they go into that
// coder as they are, and silence into the upper one. What comes from the phone is looked
// at for key tones only, all of which are in the lower band too. So neither of the
// filters that split and join the bands is needed, and an octet is a sample, as in
// G.711. The equations and tables are those of clause 6.2 of the recommendation.
//
// It knows nothing of RTP, calls or prompts: ivr asks it for octets and samples.
package g722
