// Package resync brings every phone's configuration up to the store's.
//
// It compares what is wanted with what the phone has fetched and proven, and
// asks the phone to fetch (check-sync) until they agree: after the device's last
// call has ended, gently first, again after 10 and 30 seconds and at every new
// registration, by a reboot once, then every hour. Events only tell it where to
// look; after a crash, or a lost event, the state itself does.
//
// A person at a desk comes first, always. A change of a site, a start or lost events
// have every device looked at; that goes on in the background, one by one, and no
// login's check-sync waits for it. Who is such a person is read from the state.
//
// It renders nothing (Files does) and sends nothing itself (Phones does), and it
// never disturbs a device in a call, nor reboots one after an emergency call.
package resync
