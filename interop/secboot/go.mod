// Ours; what it requires is GPL-3 and LGPL-3: see README.md.
module encrypt-cloud-image/interop/secboot

go 1.18

require (
	github.com/canonical/go-tpm2 v1.13.0
	github.com/snapcore/secboot v0.0.0-20251014192439-69e5681a20a7
)

require (
	github.com/canonical/go-efilib v1.6.0 // indirect
	github.com/canonical/go-kbkdf v0.0.0-20250104172618-3b1308f9acf9 // indirect
	github.com/canonical/go-password-validator v0.0.0-20250617132709-1b205303ca54 // indirect
	github.com/canonical/go-sp800.90a-drbg v0.0.0-20210314144037-6eeb1040d6c3 // indirect
	github.com/snapcore/snapd v0.0.0-20220714152900-4a1f4c93fc85 // indirect
	golang.org/x/crypto v0.23.0 // indirect
	golang.org/x/net v0.21.0 // indirect
	golang.org/x/sys v0.21.0 // indirect
	golang.org/x/xerrors v0.0.0-20200804184101-5ec99f83aff1 // indirect
	gopkg.in/tomb.v2 v2.0.0-20161208151619-d5d1b5820637 // indirect
	gopkg.in/yaml.v2 v2.3.0 // indirect
	maze.io/x/crypto v0.0.0-20190131090603-9b94c9afe066 // indirect
)
