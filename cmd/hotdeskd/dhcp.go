package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hotdeskd/admin"
)

// dhcpCommand prints what tells phones the way to this server, ready to be pasted
// into the usual DHCP servers. Option 66 (RFC 2132 section 9.4) is read by every
// vendor we know; Poly reads option 160 first.
func dhcpCommand(f *clientFlags) *cobra.Command {
	return action(f, "dhcp", "Print the lines that tell phones the way here, for the usual DHCP servers", 0, func(ctx context.Context, c *admin.Client, _ []string) (string, error) {
		sites, err := admin.List[admin.Site](ctx, c, "/sites")
		if err != nil {
			return "", err
		}
		if len(sites) == 0 {
			return "", fmt.Errorf("there is no site yet; describe one in a file and run: hotdeskd apply -f office.yaml")
		}
		status, err := admin.Get[admin.Status](ctx, c, "/status")
		if err != nil {
			return "", err
		}
		plain := status.Listeners["provisioning.http"]
		var b strings.Builder
		for _, site := range sites {
			if site.EnrolmentURL == "" {
				return "", fmt.Errorf("this token may not see the enrolment URL of %s; use one with the role admin", site.Name)
			}
			fmt.Fprintf(&b, "# site %s: DHCP option 66 is %s\n", site.Name, site.EnrolmentURL)
			if strings.HasPrefix(site.EnrolmentURL, "https:") && plain != "" {
				fmt.Fprintf(&b, "# Phones that take no certificate they do not know, such as Yealink's in factory state, need %s/\n# there instead: it gives them a file without secrets that leads to HTTPS.\n", plain)
			}
			for _, line := range []struct{ server, text string }{
				{"dnsmasq", "dhcp-option-force=66,\"%s\""},
				{"ISC dhcpd", "option tftp-server-name \"%s\";"},
				{"Kea (option-data)", "{\"name\": \"tftp-server-name\", \"data\": \"%s\"}"},
				{"MikroTik", "/ip dhcp-server option add name=hotdeskd code=66 value=\"s'%s'\""},
				{"Windows Server", "Set-DhcpServerv4OptionValue -OptionId 66 -Value \"%s\""},
			} {
				fmt.Fprintf(&b, "%-18s %s\n", line.server, fmt.Sprintf(line.text, site.EnrolmentURL))
			}
		}
		return b.String(), nil
	})
}
