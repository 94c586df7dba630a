package provisioning

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
)

// A phone whose claim is not yet in memory gets the file of its own commit, with
// the secret that the server accepts as soon as the memory has caught up.
func TestField_V13AClaimAnswersFromItsOwnCommit(t *testing.T) {
	for name, c := range map[string]struct{ site, mac string }{
		"a listed phone":                        {"roma", mac(1)},
		"a phone that nobody knew, added by it": {"open", mac(9)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				goOn := d.store.holdBack()
				defer goOn()
				status, body := d.get(d.enrolment(c.site, c.mac))
				goOn()
				synctest.Wait()
				p, err := d.FindDevice(c.mac)
				if err != nil {
					t.Fatal(err)
				}
				secret := d.Secret(p.Device.ID, p.Device.Generation).Reveal()
				if status != http.StatusOK || p.Device.Generation == 0 || !strings.Contains(body, secret) || strings.Contains(body, "version0") {
					t.Errorf("%d, and the file of generation %d holds its secret: %v, a placeholder: %v", status, p.Device.Generation, strings.Contains(body, secret), strings.Contains(body, "version0"))
				}
				if url := d.DeviceURL(p.Device); !strings.Contains(body, url) {
					t.Errorf("the file does not lead to %s", url)
				}
				// What else the file is made of may have been old: it is not taken for fetched.
				if p.Fetched.Version == p.Device.Wanted {
					t.Error("the file counts as fetched although memory was late")
				}
			})
		})
	}
}

// A phone that was reset and is claimed anew gets the file of that commit too.
func TestField_V13AReclaimAnswersFromItsOwnCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		url := d.enrolment("open", mac(9))
		if status, _ := d.get(url); status != http.StatusOK {
			t.Fatal(status)
		}
		if status, _ := d.get(url); status != http.StatusUnauthorized {
			t.Fatal(status)
		}
		d.wait(time.Minute)
		goOn := d.store.holdBack()
		defer goOn()
		status, body := d.get(url)
		goOn()
		synctest.Wait()
		p, err := d.FindDevice(mac(9))
		if err != nil {
			t.Fatal(err)
		}
		if secret := d.Secret(p.Device.ID, p.Device.Generation).Reveal(); status != http.StatusOK || !strings.Contains(body, secret) {
			t.Errorf("%d, and the file of generation %d does not hold its secret", status, p.Device.Generation)
		}
	})
}

// While memory is late a phone that was just claimed is asked to come again, and
// neither let go nor taken for a stranger, whichever way it comes.
func TestField_V13ALateMemoryLetsNoPhoneGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		goOn := d.store.holdBack()
		defer goOn()
		_, body := d.get(d.enrolment("roma", mac(1)))
		dev := hotdesk.Device{ID: "HD0001", Site: "roma", URLNumber: 1}
		password := d.HTTPPassword(dev).Reveal()
		if !strings.Contains(body, password) {
			t.Fatal("the claim did not give the password")
		}
		for what, res := range map[string]*http.Response{
			"by its own URL":                      d.ask("GET", d.DeviceURL(dev)+mac(1)+".cfg", inner, "HD0001:"+password),
			"by the enrolment URL":                d.ask("GET", d.enrolment("roma", mac(1)), inner, "HD0001:"+password),
			"by the enrolment URL, nothing given": d.ask("GET", d.enrolment("roma", mac(1)), inner, ""),
		} {
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d, Retry-After %q; want 503 and a time", what, res.StatusCode, res.Header.Get("Retry-After"))
			}
		}
		goOn()
		synctest.Wait()
		if res := d.ask("GET", d.DeviceURL(dev)+mac(1)+".cfg", inner, "HD0001:"+password); res.StatusCode != http.StatusOK {
			t.Errorf("when memory has caught up: %d", res.StatusCode)
		}
	})
}

// No file is rendered for a device that no phone has claimed: it has no secret.
func TestField_V13NoFileOfGenerationZero(t *testing.T) {
	d := newDesk(t)
	if _, files, err := d.Config("HD0001", ""); err == nil || len(files) != 0 {
		t.Errorf("%d files, error %v", len(files), err)
	}
	if _, _, err := d.Prepare(t.Context(), "HD0001"); err == nil {
		t.Error("a digest without a secret")
	}
	p := d.phone("HD0001")
	p.Device.Wanted = 3
	if f, err := d.render(p, 3); err == nil {
		t.Errorf("rendered %d bytes", len(f.Content))
	}
}
