// The reader of Ubuntu's initramfs, as a program for tests: what snapcore/secboot makes of the files of `deploy`.
//
//	secboot unseal TPM FILE              prints the disk key and the key that authorises new policies, in hexadecimal
//	secboot provision TPM TEMPLATE       makes the SRK from a template, and prints its name
//	secboot rewrite TPM FILE KEY BRANCH...  exchanges the PCR policy, as nullboot does after an update in the guest
//	secboot recovery-names CONTAINER     prints the names of the recovery keys of a LUKS2 container
//
// TPM is the socket of a swtpm; FILE a sealed key file; TEMPLATE a tpm2-srk.tmpl; KEY what `unseal` prints second; BRANCH
// a list 4=HEX,7=HEX,12=HEX of PCR values; CONTAINER a file that begins with a LUKS2 header, and can be written.
//
// It exits with 1 where the library refuses, and with 2 where it was called wrongly.
package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/canonical/go-tpm2"
	"github.com/canonical/go-tpm2/mu"
	"github.com/snapcore/secboot"
	secboot_tpm2 "github.com/snapcore/secboot/tpm2"
)

// Where the guest keeps its SRK.
const srkHandle tpm2.Handle = 0x81000001

func main() {
	err := run(os.Args[1:])
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// A command line that is not one of those above.
type usageError string

func (e usageError) Error() string { return string(e) }

func run(arguments []string) error {
	if len(arguments) == 0 {
		return usageError("which command?")
	}
	command, arguments := arguments[0], arguments[1:]
	switch {
	case command == "unseal" && len(arguments) == 2:
		return unseal(arguments[0], arguments[1])
	case command == "provision" && len(arguments) == 2:
		return provision(arguments[0], arguments[1])
	case command == "rewrite" && len(arguments) >= 4:
		return rewrite(arguments[0], arguments[1], arguments[2], arguments[3:])
	case command == "recovery-names" && len(arguments) == 1:
		return recoveryNames(arguments[0])
	}
	return usageError("no such command, or not so many arguments: " + command)
}

func unseal(socket, file string) error {
	sealed, err := secboot_tpm2.ReadSealedKeyObjectFromFile(file)
	if err != nil {
		return err
	}
	return withTPM(socket, func(tpm *secboot_tpm2.Connection) error {
		key, policyKey, err := sealed.UnsealFromTPM(tpm)
		if err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(key))
		fmt.Println(hex.EncodeToString(policyKey))
		return nil
	})
}

func provision(socket, file string) error {
	bytes, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var template struct {
		Public *tpm2.Public `tpm2:"sized"`
	}
	if _, err := mu.UnmarshalFromBytes(bytes, &template); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return withTPM(socket, func(tpm *secboot_tpm2.Connection) error {
		err := tpm.EnsureProvisionedWithCustomSRK(secboot_tpm2.ProvisionModeWithoutLockout, nil, template.Public)
		// The initramfs does not have the lockout authorisation either, and goes on.
		if err != nil && !errors.Is(err, secboot_tpm2.ErrTPMProvisioningRequiresLockout) {
			return err
		}
		srk, err := tpm.NewResourceContext(srkHandle)
		if err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(srk.Name()))
		return nil
	})
}

func rewrite(socket, file, policyKey string, branches []string) error {
	key, err := hex.DecodeString(policyKey)
	if err != nil {
		return usageError("the key is not in hexadecimal")
	}
	profile, err := profileOf(branches)
	if err != nil {
		return err
	}
	sealed, err := secboot_tpm2.ReadSealedKeyObjectFromFile(file)
	if err != nil {
		return err
	}
	return withTPM(socket, func(tpm *secboot_tpm2.Connection) error {
		if err := sealed.UpdatePCRProtectionPolicy(tpm, key, profile); err != nil {
			return err
		}
		return sealed.WriteAtomic(secboot_tpm2.NewFileSealedKeyObjectWriter(file))
	})
}

// The states in which a key may be unsealed: one a branch.
func profileOf(branches []string) (*secboot_tpm2.PCRProtectionProfile, error) {
	profile := secboot_tpm2.NewPCRProtectionProfile()
	point := profile.RootBranch().AddBranchPoint()
	for _, text := range branches {
		branch := point.AddBranch()
		for _, item := range strings.Split(text, ",") {
			number, digest, _ := strings.Cut(item, "=")
			pcr, err := strconv.Atoi(number)
			if err != nil {
				return nil, usageError("no number of a PCR: " + item)
			}
			value, err := hex.DecodeString(digest)
			if err != nil || len(value) != tpm2.HashAlgorithmSHA256.Size() {
				return nil, usageError("no value of a PCR: " + item)
			}
			branch.AddPCRValue(tpm2.HashAlgorithmSHA256, pcr, value)
		}
		branch.EndBranch()
	}
	point.EndBranchPoint()
	return profile, nil
}

func recoveryNames(container string) error {
	names, err := secboot.ListLUKS2ContainerRecoveryKeyNames(container)
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Println(name)
	}
	return nil
}
