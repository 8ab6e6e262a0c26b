// Ours; what it requires is under the GPL-3, the LGPL-3 and others: see README.md.
module encrypt-cloud-image/interop/snap-bootstrap

go 1.18

require github.com/snapcore/snapd v0.0.0-20240321202327-b749eda44d9f

require (
	github.com/canonical/go-efilib v0.3.1-0.20220815143333-7e5151412e93 // indirect
	github.com/canonical/go-sp800.108-kdf v0.0.0-20210314145419-a3359f2d21b9 // indirect
	github.com/canonical/go-sp800.90a-drbg v0.0.0-20210314144037-6eeb1040d6c3 // indirect
	github.com/canonical/go-tpm2 v0.0.0-20210827151749-f80ff5afff61 // indirect
	github.com/canonical/tcglog-parser v0.0.0-20210824131805-69fa1e9f0ad2 // indirect
	github.com/coreos/go-systemd v0.0.0-20180511133405-39ca1b05acc7 // indirect
	github.com/godbus/dbus v0.0.0-20190726142602-4481cbc300e2 // indirect
	github.com/gvalkov/golang-evdev v0.0.0-20191114124502-287e62b94bcb // indirect
	github.com/jessevdk/go-flags v1.5.1-0.20210607101731-3927b71304df // indirect
	github.com/juju/ratelimit v1.0.1 // indirect
	github.com/mvo5/goconfigparser v0.0.0-20200803085309-72e476556adb // indirect
	github.com/snapcore/bolt v1.3.2-0.20210908134111-63c8bfcf7af8 // indirect
	github.com/snapcore/go-gettext v0.0.0-20191107141714-82bbea49e785 // indirect
	github.com/snapcore/secboot v0.0.0-20230623151406-4d331d24f830 // indirect
	go.mozilla.org/pkcs7 v0.0.0-20200128120323-432b2356ecb1 // indirect
	golang.org/x/crypto v0.0.0-20220829220503-c86fa9a7ed90 // indirect
	golang.org/x/net v0.9.0 // indirect
	golang.org/x/sys v0.7.0 // indirect
	golang.org/x/term v0.7.0 // indirect
	golang.org/x/xerrors v0.0.0-20220609144429-65e65417b02f // indirect
	gopkg.in/macaroon.v1 v1.0.0-20150121114231-ab3940c6c165 // indirect
	gopkg.in/retry.v1 v1.0.3 // indirect
	gopkg.in/tomb.v2 v2.0.0-20161208151619-d5d1b5820637 // indirect
	gopkg.in/yaml.v2 v2.4.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
	maze.io/x/crypto v0.0.0-20190131090603-9b94c9afe066 // indirect
)

// As in snapd's own go.mod: a module's replacements count for itself alone.
replace maze.io/x/crypto => github.com/snapcore/maze.io-x-crypto v0.0.0-20190131090603-9b94c9afe066
