// Package admin is hotdeskd's side towards administrators: the REST API under
// /api/v1 (OpenAPI from its types at /api/v1/openapi.json), the event stream,
// health, and the client that the command line uses.
//
// It is another audience than provisioning's phones, with other rights and its
// own listener. Rules are not repeated here: each handler asks hotdesk and puts
// the answer into the words of the API; errors become problem+json in one table
// (errors.go).
package admin
