// Package fleet is many simulated phones that storm a running server: they all
// boot at once, or many people log in at once. It measures what the phones see
// and what the server's API says, and nothing else.
//
// A fleet brings its own office through the API (one site, N users, N devices,
// all of a name and of numbers that nobody else has) and takes it away again, also
// after an error or an interruption. It refuses to begin when something of the
// same name or number exists, and never touches what it did not make. What stays
// behind by nature: the device numbers (HD0001, …) are used up, and the call
// records and the audit log tell what happened.
//
// It stands outside, like the phones: it knows the server by URL paths and JSON,
// through the interface API that cmd/hotdeskd satisfies with the API's client.
package fleet
