//! OpenSSL, asked as edk2's `Pkcs7Verify` asks it: one trusted certificate, partial chains, no time, any purpose.

use std::path::Path;
use std::process::Command;

use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

/// `None` where a chain leads from the signer to the anchor, else OpenSSL's reason.
pub fn refusal(signer: &X509, bag: &[X509], anchor: &X509) -> Option<String> {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(anchor.clone()).unwrap();
    let flags = X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::NO_CHECK_TIME;
    store.set_flags(flags).unwrap();
    store.set_purpose(X509PurposeId::ANY).unwrap();
    let store = store.build();
    let mut untrusted = Stack::new().unwrap();
    for certificate in bag {
        untrusted.push(certificate.clone()).unwrap();
    }
    let mut context = X509StoreContext::new().unwrap();
    let verdict = context.init(&store, signer, &untrusted, |context| {
        let holds = context.verify_cert()?;
        Ok((!holds).then(|| context.error().to_string()))
    });
    verdict.unwrap_or_else(|error| Some(format!("internal: {error}")))
}

/// The same by the program, which reads files in `folder`.
pub fn program_takes(signer: &X509, bag: &[X509], anchor: &X509, folder: &Path) -> bool {
    let write = |name: &str, certificates: &[X509]| {
        let pem: Vec<u8> = certificates
            .iter()
            .flat_map(|one| one.to_pem().unwrap())
            .collect();
        std::fs::write(folder.join(name), pem).unwrap();
    };
    write("signer.pem", std::slice::from_ref(signer));
    write("bag.pem", bag);
    write("anchor.pem", std::slice::from_ref(anchor));
    let mut command = Command::new("openssl");
    command
        .current_dir(folder)
        .args("verify -no_check_time -purpose any -partial_chain".split(' '));
    command.args(["-trusted", "anchor.pem"]);
    if !bag.is_empty() {
        command.args(["-untrusted", "bag.pem"]);
    }
    let output = command.arg("signer.pem").output().unwrap();
    output.status.success()
}
