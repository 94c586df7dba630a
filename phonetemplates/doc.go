// Package phonetemplates turns one typed Phone into the configuration files that
// its vendor's phones read.
//
// It is data before it is code: a vendor is a folder with a manifest.yaml (what
// its phones ask for, how they are told to ask again, which models there are)
// and templates; a new model is a line in the manifest and a golden file.
//
// provisioning asks it two things. Match says what a request is for: the vendor,
// whether the file is the phone's own, common to many or one that is left out
// (Scope), the MAC and model as far as the phone says them, and a Problem when
// such a phone cannot be used. Render writes a file of one Kind:
//
//   - Device, for the Own file of a claimed phone: complete account and keys;
//   - Holding, for the Own file of a phone that is not claimed: no account, and it
//     asks again soon (Account.Label is what its display may show);
//   - Release, for the Own file under a token that is not in use any more: no
//     account, and the way back to the enrolment URL;
//   - Enrolment, for Own and Common files without a token: only the enrolment URL.
//
// The last three take Server.URL = the site's enrolment URL and need no other
// field than Model; for a phone of unknown model AnyModel(vendor) serves. Under a
// token a Common file is a 404, and an Absent file always is one: the phone goes
// on to the next name of its sequence.
//
// Every value is escaped for the dialect by the package itself, administrators'
// parameters are merged by key after rendering, and secrets and the emergency
// plan are out of their reach. It decides nothing about devices or users and
// never sees a password of a user.
package phonetemplates
