//! What a refusal says. Which chains are refused is judged by OpenSSL in `tests/chains`.

use super::*;

#[test]
fn every_refusal_names_the_certificate_and_the_rule() {
    let certificate = || "CN=ca".to_owned();
    let by_rule = |rule| {
        Refusal::Rule {
            certificate: certificate(),
            rule,
        }
        .to_string()
    };
    let told = [
        (
            Rule::NotCa,
            "is no CA (CA:FALSE), and stands as the issuer of another",
        ),
        (
            Rule::MaybeCa,
            "does not say that it is a CA, and stands as the issuer of another",
        ),
        (
            Rule::KeyUsage,
            "must not sign certificates (its key usage lacks keyCertSign)",
        ),
        (
            Rule::PathLength,
            "allows fewer CAs below it (pathlen) than there are",
        ),
        (
            Rule::Critical,
            "has a critical extension that the verifier does not know",
        ),
        (Rule::Proxy, "is a proxy certificate"),
        (
            Rule::ExplicitCurve,
            "spells out the parameters of its elliptic curve",
        ),
        (Rule::Key, "has a key that the verifier cannot read"),
    ];
    for (rule, text) in told {
        assert_eq!(by_rule(rule), format!("CN=ca {text}"));
    }
    assert_eq!(Refusal::Unrelated.to_string(), "nothing leads to it");
    let forged = Refusal::Signature {
        certificate: certificate(),
        issuer: "CN=root".to_owned(),
    };
    assert_eq!(
        forged.to_string(),
        "the signature of CN=ca is not one by CN=root"
    );
    let unknown = Refusal::Unknown {
        certificate: certificate(),
        what: UNKNOWN_ALGORITHM,
    };
    assert_eq!(
        unknown.to_string(),
        "CN=ca is signed by an algorithm or a key that cannot be verified here"
    );
}
