// Package phonetemplates turns one typed Phone into the configuration files that
// its vendor's phones read.
//
// It is data before it is code: a vendor is a folder with a manifest.yaml (what
// its phones ask for, how they are told to ask again, which models there are)
// and templates; a new model is a line in the manifest and a golden file.
// provisioning asks it what a request is for (Match) and for the file (Render).
//
// Every value is escaped for the dialect by the package itself, administrators'
// parameters are merged by key after rendering, and secrets and the emergency
// plan are out of their reach. It decides nothing about devices or users and
// never sees a password of a user.
package phonetemplates
