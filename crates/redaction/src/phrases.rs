//! The phrases that names of fields end with, and what they say: English and, for the commonest kinds, German, French,
//! Spanish, Italian, Portuguese, Dutch, Polish and Scandinavian.

use crate::builtin::Rule;
use crate::keys::Shape;

/// Rule, shape, whether the phrase must be the whole name, and the phrases. A row without a rule says
/// that names ending so are harmless although a shorter phrase would match.
pub(crate) const PHRASES: &[(Option<Rule>, Shape, bool, &str)] = {
    use Rule as R;
    use Shape::{Any, Authorization, BareName, Cookie, Name, Random, Ruled, Title};
    &[
        (
            Some(R::Password),
            Any,
            false,
            "password|passwd|pwd|passphrase|pass phrase|passcode|pgpassword|user pass|db pass|security answer|mothers maiden name|one time password|otp|otp code|totp|password hash|pw hash|hashed password|encrypted password|password digest|verification code|one time code|sms code|login code|recovery code|recovery codes|backup code|memorable word|\
             passwort|kennwort|mot de passe|motdepasse|mdp|contrasena|contrase a|clave secreta|wachtwoord|senha|haslo|parola d ordine",
        ),
        (Some(R::Password), Any, true, "pass|pw|pin|pin code"),
        (
            Some(R::Secret),
            Any,
            false,
            "secret|client secret|secret key|shared secret|app secret|encryption key|master key|credential|credentials|connection string|aws secret key|secret key base|secret base|signing secret|webhook secret|client credential|token secret|consumer secret|jwt secret|cookie secret|hmac secret|hmac key|geheimnis",
        ),
        (Some(R::AwsSecret), Any, false, "secret access key|aws secret access key|aws secret"),
        (Some(R::PrivateKey), Any, false, "private key|signing key|ssh key|rsa key|pem key"),
        (
            Some(R::ApiKey),
            Any,
            false,
            "api key|access key|auth key|account key|subscription key|shared access key|x functions key|application key|service key|aws access key id|access key id|app key|license key|licence key|storage key|sas token|sas key|function key|consumer key|dd api key|dd application key|sentry dsn",
        ),
        (Some(R::ApiKey), Random, false, "key"),
        (
            Some(R::AccessToken),
            Any,
            false,
            "token|access token|refresh token|id token|auth token|bearer token|api token|csrf token|xsrf token|csrf|xsrf|jwt|client assertion|saml response|saml assertion|code verifier|authorization code|auth code|magic link|saml request|id token hint|device code|user token|personal access token|deploy token|registration token|invite token|reset token|remember token|remember me|oauth token|x vault token|ticket granting ticket",
        ),
        (Some(R::AccessToken), Random, true, "code|assertion|ticket|device token|push token"),
        (
            Some(R::Signature),
            Random,
            false,
            "signature|sig|x amz signature|x goog signature|x amz security token|x ms signature|hmac",
        ),
        (Some(R::AwsAccessKey), Ruled, false, "x amz credential"),
        (
            Some(R::Session),
            Any,
            false,
            "session id|sessionid|sid|jsessionid|phpsessid|sess id|sessid|session key|session token|session cookie|connect sid|asp net session id|session",
        ),
        (Some(R::Cookie), Cookie, false, "cookie|set cookie|cookies"),
        (Some(R::Authorization), Authorization, false, "authorization|proxy authorization|auth header"),
        (Some(R::Basic), Any, false, "authorization basic|basic auth"),
        (
            Some(R::CardCode),
            Ruled,
            false,
            "cvv|cvc|cvv2|cvc2|cvn|csc|card security code|card verification value",
        ),
        (
            Some(R::Email),
            Ruled,
            false,
            "email|e mail|email address|mail address|emailaddress|emails|login hint|courriel|correo|correo electronico|adres e mail",
        ),
        (Some(R::Email), Ruled, true, "mail"),
        (
            Some(R::Phone),
            Ruled,
            false,
            "phone|telephone|tel|mobile|msisdn|cell|cellphone|cell phone|fax|contact number|caller id|phone number|mobile number|whatsapp|telefon|telefono|telefone|telefoon|telefonnummer|handynummer|handy|mobil|mobilnummer|movil|celular|cellulare|numero de telephone|numero telephone|gsm|landline|home phone|work phone|tel no|phone no|calling number|called number",
        ),
        (
            Some(R::Card),
            Ruled,
            false,
            "card|card number|pan|cc|ccn|cc num|cc number|credit card|debit card|payment card|primary account number|cardno|card no|credit card number|debit card number|kreditkarte|kartennummer|carte bancaire|tarjeta|numero tarjeta|account card",
        ),
        (Some(R::Iban), Ruled, false, "iban"),
        (
            Some(R::BankAccount),
            Ruled,
            false,
            "account number|account no|bank account|sort code|sort code account|acct|routing number|bank acct|acct no|acct number|kontonummer|rekeningnummer|numero de compte|numero cuenta|bank account number|beneficiary account|payee account|debtor account|creditor account|aba|aba routing|routing transit number",
        ),
        (Some(R::BankAccount), Ruled, true, "account"),
        (
            Some(R::Nino),
            Ruled,
            false,
            "nino|ni number|ni no|national insurance|national insurance number|insurance number|nat ins|nat ins no|nat ins number",
        ),
        (
            Some(R::Nhs),
            Ruled,
            false,
            "nhs|nhs number|nhs no|nhs id|patient nhs|chi number|chi no|health number|patient number|chi|hcn|hc number|h c number|health and care number|health care number",
        ),
        (
            Some(R::Utr),
            Ruled,
            false,
            "utr|utr number|sa utr|unique taxpayer reference|taxpayer reference|tax reference",
        ),
        (
            Some(R::Passport),
            Ruled,
            false,
            "passport|passport number|passport no|passport id|passport num|travel document|travel document number|reisepass|passnummer|numero passeport|passeport|pasaporte|numero pasaporte|paspoort|passaporto",
        ),
        (
            Some(R::DrivingLicence),
            Ruled,
            false,
            "driving licence|driving license|drivers license|driver licence|driver license|licence number|license number|licence no|dl number",
        ),
        (
            Some(R::Plate),
            Ruled,
            false,
            "vrm|vrn|car registration|car reg|number plates|kennzeichen|immatriculation|matricula|kenteken|targa|registration plate|reg plate|number plate|licence plate|license plate|vehicle registration|vehicle reg|reg number|registration number",
        ),
        (Some(R::Plate), Ruled, true, "reg|plate"),
        (
            Some(R::NationalId),
            Ruled,
            false,
            "national id|national id number|national identity number|identity number|identity card number|id card number|personal id number|\
             steuer id|steuerid|steueridentifikationsnummer|idnr|tax id|tin|taxpayer id|tax identification number|\
             nir|numero securite sociale|securite sociale|dni|nie|nif|bsn|burgerservicenummer|codice fiscale|codicefiscale|\
             rijksregisternummer|national register number|niss|insz|pesel|personnummer|fodselsnummer|hetu|henkilotunnus|ppsn|pps number|\
             ahv nummer|numero avs|svnr|itin|cpr number",
        ),
        (
            Some(R::VatNumber),
            Ruled,
            false,
            "vat|vat number|vat no|vat id|vat reg|vat reg no|vat registration|vat registration number|vatin|tax number",
        ),
        (
            Some(R::LearnerNumber),
            Ruled,
            false,
            "upn|pupil number|unique pupil number|uln|learner number|unique learner number|learner reference",
        ),
        (
            Some(R::ResidencePermit),
            Ruled,
            false,
            "brp|brp number|biometric residence permit|residence permit|residence permit number|share code|sharecode|right to work code|evisa code",
        ),
        (
            Some(R::MeterPoint),
            Ruled,
            false,
            "mpan|mpan core|mprn|meter point|meter point number|meter point reference",
        ),
        (Some(R::Ssn), Ruled, false, "ssn|social security number|social security"),
        (Some(R::Imei), Ruled, false, "imei|meid"),
        (Some(R::MacAddress), Ruled, false, "mac|mac address|bssid|hwaddr|hardware address"),
        (
            Some(R::Geo),
            Ruled,
            false,
            "geo|geo location|geolocation|lat lng|latlng|lat lon|lat long|latitude|longitude|lat|lng|lon|coordinates|coords|gps|gps position|gps location",
        ),
        (
            Some(R::DateOfBirth),
            Ruled,
            false,
            "dob|date of birth|birth date|birthdate|birthday|born|birth day|d o b|dateofbirth|birth dt|geburtsdatum|geboren|geboortedatum|date de naissance|date naissance|fecha de nacimiento|fecha nacimiento|data di nascita|data de nascimento|data urodzenia|fodselsdato|syntymaaika",
        ),
        (
            Some(R::Postcode),
            Ruled,
            false,
            "postcode|post code|postal code|zip|zipcode|zip code|plz|postleitzahl|code postal|codigo postal|eircode",
        ),
        (
            Some(R::StreetAddress),
            Ruled,
            false,
            "correspondence address|residential address|current address|registered address|mailing address|customer address|patient address|address 1|address 2|addr 1|addr 2|addr1|addr2|strasse|stra e|anschrift|adresse|direccion|domicilio|indirizzo|straat|adres|endereco|street address|home address|postal address|billing address|shipping address|delivery address|address line|street|address line 1|address line 2|addr line",
        ),
        (
            Some(R::StreetAddress),
            Ruled,
            true,
            "address|line 1|line 2|addr|deliver|delivered|ship|shipped|lives|living",
        ),
        (
            Some(R::Name),
            Name,
            false,
            "full name|fullname|first name|firstname|last name|lastname|surname|forename|given name|family name|middle name|maiden name|patient name|customer name|display name|account holder|account holder name|cardholder|cardholder name|card holder|holder name|payee|payee name|beneficiary|beneficiary name|recipient name|contact name|person name|employee name|passenger name|guest name|member name|student name|user full name|real name|nickname|legal name|known as|preferred name|forenames|first names|last names|given names|next of kin|name on card|nameoncard|debtor name|creditor name|owner name|client name|\
             vorname|nachname|familienname|prenom|pr nom|nom de famille|nom complet|nombre completo|apellido|apellidos|primer apellido|voornaam|achternaam|cognome|sobrenome|imie|nazwisko|fornavn|etternavn|efternamn|fornamn",
        ),
        (
            Some(R::Name),
            BareName,
            true,
            "name|fn|who|contact|recipient|customer|passenger|nombre|nom|nome|naam|patient|employee|member|guest",
        ),
        (
            Some(R::Name),
            Title,
            true,
            "mr|mrs|ms|miss|mx|dr|prof|professor|sir|dame|herr|frau|mme|monsieur|madame|sr|sra",
        ),
        (
            Some(R::Username),
            Ruled,
            false,
            "username|user name|login name|screen name|enduser id|user login|login|logon|loginid|login id|benutzername|benutzer|nom utilisateur|usuario|gebruikersnaam|screenname|sam account name|samaccountname|account login",
        ),
        (Some(R::Crypto), Ruled, false, "btc address|eth address|bitcoin address|wallet address|wallet"),
        (
            None,
            Any,
            false,
            "idempotency key|cache key|partition key|routing key|primary key|public key|foreign key|sort key|message key|object key|shard key|group key|dedup key|key id|lookup key|config key|row key|map key|hash key|host key|jwk key|\
             page token|next page token|continuation token|next token|previous token|unexpected token|\
             service account|storage account|aws account|cloud account|server address|client address|remote address|peer address|local address|source address|destination address|upstream address|downstream address|listen address|bind address|socket address|host address|ip address|network address|pod address|\
             upstream host|host name|hostname|db name|event name|service name|pod name|file name|filename|rule name|\
             region zip|file zip|last login|first login|since login|login url|signature algorithm|signature version|signature method",
        ),
    ]
};
