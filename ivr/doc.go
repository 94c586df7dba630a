// Package ivr is the conversation with the person at the phone: "Enter your PIN",
// four keys, "You are logged in".
//
// In the flow it stands between sip and hotdesk: sip answers the INVITE to a
// hot-desk code and hands the call to Attend, the dialogue (menu.go) asks for
// what is missing, hotdesk decides, and when Run returns sip hangs up. Below the
// dialogue lie the prompts and the 20 ms clock (player.go, audio.go, rtp.go), the
// check of who may speak to us (latch.go, secure.go), key presses (digits.go,
// inband.go, keypad.go) and the session descriptions (sdpread.go, sdp.go), with the
// reasons for refusing one (warning.go). ivr/g722 is the one codec that is computed.
//
// It never parses SIP, never keeps or logs a PIN or any other key that was
// pressed, and never tells an unknown extension, a wrong PIN and a disabled user
// apart: the rules return one error for them, and it is spoken in one way.
package ivr
