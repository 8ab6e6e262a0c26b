package main

import (
	"io"
	"net"
	"time"

	"github.com/canonical/go-tpm2"
	"github.com/canonical/go-tpm2/transportutil"
	secboot_tpm2 "github.com/snapcore/secboot/tpm2"
)

// Larger than every command and response of a TPM.
const maxPacketBytes = 4096

// swtpm's data socket takes bare commands, and takes each read as one: a command in pieces is none.
type transport struct {
	io.Reader
	io.Writer
	io.Closer
}

// Connects to a swtpm, which serves one client at a time, and does something with it.
//
// The library's own way to connect opens the machine's device alone. What it makes of it is a struct around the context
// of go-tpm2. It keeps a session there, too, which may be missing; its Close would flush that session, so the context is
// closed by itself.
func withTPM(socket string, do func(*secboot_tpm2.Connection) error) error {
	connection, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	packets := &transport{
		Reader: transportutil.BufferResponses(connection, maxPacketBytes),
		Writer: transportutil.BufferCommands(connection, maxPacketBytes),
		Closer: connection,
	}
	// swtpm asks at times to send a command again, and the context does not do it.
	retrying := transportutil.NewRetrierTransport(packets, transportutil.RetryParams{
		MaxRetries:     5,
		InitialBackoff: 20 * time.Millisecond,
		BackoffRate:    2,
	})
	context := tpm2.NewTPMContext(retrying)
	defer context.Close()
	return do(&secboot_tpm2.Connection{TPMContext: context})
}
