# The guide's lines. What a person does between them stands in comments; what is not the guide's is marked so.

# Encrypt. The guide says sudo before the lines of encrypt-cloud-image; it is not needed.
encrypt-cloud-image encrypt -o encrypted.vhd --override-datasources "NoCloud" input.vhd

# A vTPM, in a terminal of its own.
mkdir $D/mytpm0
swtpm socket --server type=unixio,path=$D/mytpm0/swtpm-sock --ctrl type=unixio,path=$D/mytpm0/swtpm-sock.ctrl,mode=0600 --tpmstate dir=$D/mytpm0 --tpm2 --flags not-need-init,startup-clear 2> swtpm.log &
trap "kill $!" EXIT # ours: a person ends it by hand

# Its SRK.
export TPM2TOOLS_TCTI="swtpm:path=$D/mytpm0/swtpm-sock"
until tpm2_getrandom --hex 1 > /dev/null 2>&1; do kill -0 $!; done # ours: a person waits until it has started
tpm2_createprimary -c srk.ctx
tpm2_readpublic -c srk.ctx -o srk.pub

# The variables of Secure Boot. The names of certificates differ between distributions: these are Debian's.
cp /usr/share/OVMF/OVMF_VARS_4M.ms.fd .
virt-fw-vars --inplace OVMF_VARS_4M.ms.fd --add-db f0a1b2c3-0000-4000-8000-000000000001 signer.pem # ours: Debian's shim has to know who signed the kernel
mkdir certs; cd certs; virt-fw-vars -i ../OVMF_VARS_4M.ms.fd --extract-certs; cd ..
echo JhbEwUxQkkCsqUH5NpNDKEwAAAAAAAAAMAAAAKOouqAdBKhIvIfDbRIbXj3jsMRCmPwcFJr79MiZb7kkJ65B5GSbk0yklZkbeFK4VQ== | base64 --decode > certs/dbx-sha256-of-emptyfile.esl
cert-to-efi-sig-list -g 8be4df61-93ca-11d2-aa0d-00e098032b8c certs/PK-8be4df61-93ca-11d2-aa0d-00e098032b8c-DebianUEFISecureBootPKKEKkey.pem certs/PK.esl
cert-to-efi-sig-list -g 77fa9abd-0359-4d32-bd60-28f4e78f784b certs/db-77fa9abd-0359-4d32-bd60-28f4e78f784b-MicrosoftWindowsProductionPCA2011.pem certs/db-1.esl
cert-to-efi-sig-list -g 77fa9abd-0359-4d32-bd60-28f4e78f784b certs/db-77fa9abd-0359-4d32-bd60-28f4e78f784b-MicrosoftCorporationUEFICA2011.pem certs/db-2.esl
cert-to-efi-sig-list -g f0a1b2c3-0000-4000-8000-000000000001 certs/db-f0a1b2c3-0000-4000-8000-000000000001-*.pem certs/db-3.esl # ours
cert-to-efi-sig-list -g a0baa8a3-041d-48a8-bc87-c36d121b5e3d certs/KEK-a0baa8a3-041d-48a8-bc87-c36d121b5e3d-DebianUEFISecureBootPKKEKkey.pem certs/KEK-1.esl
cert-to-efi-sig-list -g 77fa9abd-0359-4d32-bd60-28f4e78f784b certs/KEK-77fa9abd-0359-4d32-bd60-28f4e78f784b-MicrosoftCorporationKEKCA2011.pem certs/KEK-2.esl
create-uefi-config -i uefi-config.json -i certs

# Deploy. The guide says sudo here as well. A copy is kept for the one-line way.
cp encrypted.vhd copy.vhd # ours
encrypt-cloud-image deploy --srk-pub srk.pub --uefi-config uefi-config.json --add-efi-secure-boot-profile encrypted.vhd
mv encrypted.vhd final.vhd
