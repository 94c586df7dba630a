package hotdesk

import "time"

// Desired is the file of apply and export: the state an administrator wants.
// A nil field leaves what is stored (or a new object's default); lists are
// replaced whole when they are given.
type Desired struct {
	Settings   *SettingsSpec `json:"settings,omitempty" yaml:"settings,omitempty"`
	Sites      []SiteSpec    `json:"sites,omitempty" yaml:"sites,omitempty"`
	PBX        []PBXSpec     `json:"pbx,omitempty" yaml:"pbx,omitempty"`
	Users      []UserSpec    `json:"users,omitempty" yaml:"users,omitempty"`
	Devices    []DeviceSpec  `json:"devices,omitempty" yaml:"devices,omitempty"`
	Parameters []Parameter   `json:"parameters,omitempty" yaml:"parameters,omitempty"`
}

// SettingsSpec holds the server-wide choices.
type SettingsSpec struct {
	Codes   *CodesSpec `json:"codes,omitempty" yaml:"codes,omitempty"`
	Refusal *string    `json:"refusal,omitempty" yaml:"refusal,omitempty"`
}

// CodesSpec holds the hot-desk codes.
type CodesSpec struct {
	Login     *string             `json:"login,omitempty" yaml:"login,omitempty"`
	Logout    *string             `json:"logout,omitempty" yaml:"logout,omitempty"`
	LogoutAll *string             `json:"logout_all,omitempty" yaml:"logout_all,omitempty"`
	Aliases   map[string][]string `json:"aliases,omitempty" yaml:"aliases,omitempty"`
}

// SiteSpec is an office.
type SiteSpec struct {
	Name         string          `json:"name" yaml:"name"`
	Country      *string         `json:"country,omitempty" yaml:"country,omitempty"`
	TimeZone     *string         `json:"time_zone,omitempty" yaml:"time_zone,omitempty"`
	Language     *string         `json:"language,omitempty" yaml:"language,omitempty"`
	Networks     []string        `json:"networks,omitempty" yaml:"networks,omitempty"`
	Enrolment    *string         `json:"enrolment,omitempty" yaml:"enrolment,omitempty"`
	RequireHTTPS *bool           `json:"require_https,omitempty" yaml:"require_https,omitempty"`
	Phones       *PhonesSpec     `json:"phones,omitempty" yaml:"phones,omitempty"`
	Dialing      *DialingSpec    `json:"dialing,omitempty" yaml:"dialing,omitempty"`
	Emergency    *EmergencySpec  `json:"emergency,omitempty" yaml:"emergency,omitempty"`
	SecondPhone  *string         `json:"second_phone,omitempty" yaml:"second_phone,omitempty"`
	AutoLogout   *AutoLogoutSpec `json:"auto_logout,omitempty" yaml:"auto_logout,omitempty"`
}

// PhonesSpec is what a site's phones are told beyond their account.
type PhonesSpec struct {
	Transport     *string `json:"transport,omitempty" yaml:"transport,omitempty"`
	SRTP          *string `json:"srtp,omitempty" yaml:"srtp,omitempty"`
	NTP           *string `json:"ntp,omitempty" yaml:"ntp,omitempty"`
	AdminPassword *string `json:"admin_password,omitempty" yaml:"admin_password,omitempty"`
}

// DialingSpec is a site's number plan.
type DialingSpec struct {
	OutsidePrefix *string  `json:"outside_prefix,omitempty" yaml:"outside_prefix,omitempty"`
	Extensions    *string  `json:"extensions,omitempty" yaml:"extensions,omitempty"`
	IdleNumbers   []string `json:"idle_numbers,omitempty" yaml:"idle_numbers,omitempty"`
}

// EmergencySpec is a site's emergency rules.
type EmergencySpec struct {
	Numbers  []string          `json:"numbers,omitempty" yaml:"numbers,omitempty"`
	CallerID *string           `json:"caller_id,omitempty" yaml:"caller_id,omitempty"`
	Address  map[string]string `json:"address,omitempty" yaml:"address,omitempty"`
	Routes   []EmergencyRoute  `json:"routes,omitempty" yaml:"routes,omitempty"`
	Notify   []Notify          `json:"notify,omitempty" yaml:"notify,omitempty"`
}

// AutoLogoutSpec ends sessions by time.
type AutoLogoutSpec struct {
	At       *string   `json:"at,omitempty" yaml:"at,omitempty"`
	Max      *Duration `json:"max,omitempty" yaml:"max,omitempty"`
	Inactive *Duration `json:"inactive,omitempty" yaml:"inactive,omitempty"`
}

// Duration is written like "12h" or "90s".
type Duration time.Duration

// MarshalText writes the duration as Go does, "12h0m0s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "12h", "90s" or "1h30m".
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// PBXSpec is a telephone system.
type PBXSpec struct {
	Name      string       `json:"name" yaml:"name"`
	Mode      *string      `json:"mode,omitempty" yaml:"mode,omitempty"`
	Domain    *string      `json:"domain,omitempty" yaml:"domain,omitempty"`
	Proxy     *string      `json:"proxy,omitempty" yaml:"proxy,omitempty"`
	Transport *string      `json:"transport,omitempty" yaml:"transport,omitempty"`
	Internal  *string      `json:"internal,omitempty" yaml:"internal,omitempty"`
	Features  *string      `json:"features,omitempty" yaml:"features,omitempty"`
	SRTP      *string      `json:"srtp,omitempty" yaml:"srtp,omitempty"`
	Account   *AccountSpec `json:"account,omitempty" yaml:"account,omitempty"`
	Identity  []string     `json:"identity,omitempty" yaml:"identity,omitempty"`
	Sources   []string     `json:"sources,omitempty" yaml:"sources,omitempty"`
}

// AccountSpec is an account at the PBX. Secret arrives in the clear and is
// sealed; Sealed is how export shows it, and keeps what is stored.
type AccountSpec struct {
	AuthUser *string `json:"auth_user,omitempty" yaml:"auth_user,omitempty"`
	Secret   *string `json:"secret,omitempty" yaml:"secret,omitempty"`
	Sealed   *string `json:"sealed,omitempty" yaml:"sealed,omitempty"`
}

// UserSpec is a person.
type UserSpec struct {
	Extension string       `json:"extension" yaml:"extension"`
	Name      *string      `json:"name,omitempty" yaml:"name,omitempty"`
	PIN       *string      `json:"pin,omitempty" yaml:"pin,omitempty"`
	PINSet    *bool        `json:"pin_set,omitempty" yaml:"pin_set,omitempty"`
	Enabled   *bool        `json:"enabled,omitempty" yaml:"enabled,omitempty"`
	HotDesk   *bool        `json:"hot_desk,omitempty" yaml:"hot_desk,omitempty"`
	Language  *string      `json:"language,omitempty" yaml:"language,omitempty"`
	CallerID  *string      `json:"caller_id,omitempty" yaml:"caller_id,omitempty"`
	OffDesk   *string      `json:"off_desk,omitempty" yaml:"off_desk,omitempty"`
	PBX       *UserPBXSpec `json:"pbx,omitempty" yaml:"pbx,omitempty"`
	Keys      []Key        `json:"keys,omitempty" yaml:"keys,omitempty"`
}

// UserPBXSpec is the user's account at a PBX; Secret and Sealed as in AccountSpec.
type UserPBXSpec struct {
	Name      string  `json:"name" yaml:"name"`
	Extension *string `json:"extension,omitempty" yaml:"extension,omitempty"`
	AuthUser  *string `json:"auth_user,omitempty" yaml:"auth_user,omitempty"`
	Secret    *string `json:"secret,omitempty" yaml:"secret,omitempty"`
	Sealed    *string `json:"sealed,omitempty" yaml:"sealed,omitempty"`
}

// set takes over a given value.
func set[T any](dst *T, given *T) {
	if given != nil {
		*dst = *given
	}
}

// setAs is set for string types of ours.
func setAs[D, S ~string](dst *D, given *S) {
	if given != nil {
		*dst = D(*given)
	}
}

// setList replaces a list or map that was given.
func setList[T any](dst *[]T, given []T) {
	if given != nil {
		*dst = given
	}
}
