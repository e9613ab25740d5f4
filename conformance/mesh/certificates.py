"""A mesh authority and SPIFFE workload certificates, with an expired one beside each good one."""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def issue(folder: pathlib.Path, identities: dict[str, str]) -> None:
    """Writes FOLDER/ca.crt and FOLDER/NAME.{good,expired}.{crt,key} for each name -> SPIFFE id."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    authority_key, authority = _authority(now - 24 * hour, now + 24 * hour)
    (folder / "ca.crt").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for name, spiffe_id in identities.items():
        for variant, begin, end in (("good", now - hour, now + 24 * hour), ("expired", now - 3 * hour, now - hour)):
            key = ec.generate_private_key(ec.SECP256R1())
            leaf = _leaf(key, spiffe_id, authority_key, authority, begin, end)
            (folder / f"{name}.{variant}.crt").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
            (folder / f"{name}.{variant}.key").write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )


def _authority(begin, end):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _leaf(key, spiffe_id, authority_key, authority, begin, end):
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)]), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
