//! The built-in rules: their names, what they put in place of a value, and examples of what they do.
//!
//! How each is recognised lives elsewhere: by the name of a field in [`crate::keys`], by a marker in
//! [`crate::tokens`], by digits in [`crate::numbers`], and so on. The examples here are run by a test.

/// A set of built-in rules, a bit each by number. The highest bits are taken by other contexts.
pub(crate) type RuleSet = u128;

/// What kind of thing a rule protects, which decides what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Opens a door: always replaced whole, never pseudonymised.
    Secret,
    /// Identifies a person: replaced by a pseudonym if there is a key, else by a placeholder.
    Personal,
    /// An address in a network, handled by the policy for addresses.
    Address,
}

/// What a built-in rule is and does.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name, as rule files and counters say it.
    pub name: &'static str,
    /// The word in the placeholder.
    pub placeholder: &'static str,
    /// What it protects.
    pub group: Group,
    /// Texts in which it finds something.
    pub finds: &'static [&'static str],
    /// Texts that look alike, in which no rule finds anything.
    pub leaves: &'static [&'static str],
}

macro_rules! rules {
    ($($variant:ident $name:literal $placeholder:literal $group:ident $finds:tt $leaves:tt)+) => {
        /// A built-in rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Rule { $($variant,)+ }

        /// Every built-in rule, in order of [`Rule`].
        pub const BUILTINS: &[Builtin] = &[$(Builtin {
            name: $name, placeholder: $placeholder, group: Group::$group, finds: &$finds, leaves: &$leaves,
        },)+];
    };
}

// Order is precedence: where two rules claim the same text, the one that stands first names it.
rules! {
    PrivateKey "private_key" "private_key" Secret
        ["-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "signing_key=MC4CAQAwBQYDK2Vw"]
        ["-----BEGIN CERTIFICATE-----", "rotated private key of issuer"]
    UrlCredentials "url_credentials" "credentials" Secret
        ["postgres://app:s3cr3t@db.data:5432/x", "https://u:p%40ss@example.com/"]
        ["https://example.com:8080/a@b", "spiffe://cluster.local/ns/shop/sa/cart"]
    Basic "basic_credentials" "credentials" Secret
        ["Basic dXNlcjpodW50ZXIy", "Authorization: Basic YWRtaW46cGFzczE=", "curl -u alice:hunter2 https://x.example"]
        ["Basic plan renewed", "curl -u alice https://x.example"]
    Jwt "jwt" "jwt" Secret
        ["Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlc2lnbmF0dXJl"]
        ["eyJhbGciOiJIUzI1NiJ9", "eyJAAAA.eyJBBB"]
    Bearer "bearer_token" "token" Secret
        ["authorization: Bearer 7qB0WR8PdeSzVX-qUM0kYizolN", "bearer mF_9.B5f-4.1JqM8k2"]
        ["bearer token is missing"]
    AwsAccessKey "aws_access_key" "api_key" Secret
        ["AKIAFRASMIJSPTR6T2IT", "X-Amz-Credential=ASIATJHA4I2EX3DFNZ3A%2F20260412"]
        ["ASIA pacific region", "AKIAtoolow"]
    AwsSecret "aws_secret_key" "secret" Secret
        ["aws_secret_access_key=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"]
        ["aws_secret_access_key rotated"]
    GithubToken "github_token" "token" Secret
        ["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"] ["ghp_short", "ghp_ is the prefix"]
    GitlabToken "gitlab_token" "token" Secret
        ["glpat-aBcDeFgHiJkLmNoPqRsT"] ["glpat-short", "glagent-hellOworld380_testin"]
    SlackToken "slack_token" "token" Secret
        ["xoxb-895310912881-686924694858-gX7R1yxg1kaHFBbg", "https://hooks.slack.com/services/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"]
        ["xoxb- is a prefix", "https://hooks.slack.com/services/"]
    StripeKey "stripe_key" "api_key" Secret
        ["sk_live_nmcft4Ja54gH2BrTkBs6wwse"] ["sk_live_", "task_live_id"]
    GoogleKey "google_key" "api_key" Secret
        ["AIzaUrG-aFSCoDtPCL9Yde1yPEAHG96piamPQRc"] ["AIzaShort"]
    SendgridKey "sendgrid_key" "api_key" Secret
        ["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"] ["SG.short.name"]
    NpmToken "npm_token" "token" Secret
        ["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"] ["npm_config_registry"]
    PypiToken "pypi_token" "token" Secret
        ["pypi-AgEIcHlwaS5vcmcZU9TK3o9jiVoJNhdu0sf7A_2ydkrjrBMmAKYA3XM-S2M85vVuaE8wQDCNE7dVm"] ["pypi-mirror-7"]
    TwilioKey "twilio_key" "api_key" Secret
        ["AC2fce3b07c5b6ea433d94e1482cb57932"] ["2fce3b07c5b6ea433d94e1482cb57932aa"]
    LlmKey "llm_key" "api_key" Secret
        ["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", "sk-ant-api03-sqoRBM4dwiLTzgwHx9ggaXp2fPn1axnK5RVdEwFAZBPU6"]
        ["disk-usage-report-of-the-week", "sk-short"]
    VendorToken "vendor_token" "token" Secret
        ["hvs.hWay-wis3QpoSXob5gz_jyHmBQey", "dapi1234567890abcdef1234567890abcdef", "s.7mKqWz3RtYxB9cVnLd2PfHs4", "ab18Q~Zr4kW9xLm2Tn6Vp1Yb3Cd5Fg7Hj0Ks8"]
        ["hvs.short", "rapidapi"]
    Authorization "authorization" "credentials" Secret
        ["authorization: Digest username=\"x\"", "Authorization: Negotiate YIIZ3u9="]
        ["authorization policy cart-allow applied", "authorization: -"]
    Password "password" "password" Secret
        ["password=hunter2", "{\"db_passwd\":\"x y z\"}", "pw=Blue!Horse7", "SET password = 'it''s'", "<Password>abc</Password>", "--password s3cret9", "AUTH s3cr3tP4ss"]
        ["password reset email queued", "KeyError: 'password' not in payload", "password=", "password: null", "AUTH failed"]
    CardCode "card_code" "card_code" Secret
        ["cvv=123", "\"cvc\": \"0421\""] ["cvv=missing"]
    AccessToken "token" "token" Secret
        ["access_token=Ejf4BUIIsJU9IefdJeGa", "x-auth-token: 9fK2mmQz81LpA0"]
        ["token expires in 15 minutes", "token_type=Bearer", "max_tokens=4096", "unexpected token: ';'"]
    Secret "secret" "secret" Secret
        ["client_secret=9a9973151cb0aab8905fb29ef9c3a798", "clientSecret: \"a8f5f167f44f\""]
        ["secret rotation finished, 0 keys changed"]
    ApiKey "api_key" "api_key" Secret
        ["x-api-key: 9QACeBUci9NGW2rxf0jzWJriyiEgVsjQ", "?apiKey=0123456789abcdefXY"]
        ["api_key header missing, returning 401", "idempotency-key: 16298e1c-6636-40bf-ae6a-fc9d1882f4e4", "routing_key=orders.created.v2"]
    Signature "url_signature" "signature" Secret
        ["?X-Amz-Signature=12730c957f10b519bf8b5de491645830a4", "&sig=4c2bcb2e33bb5ebf75a2e30959d31449"]
        ["signature mismatch for webhook", "sig=9"]
    Session "session" "session" Secret
        ["Cookie: JSESSIONID=qvwluamn4ftjdwnhsh5cyvc99x; theme=dark", "sid=0CD0331F35CBA9BD6310684579B0CD19"]
        ["session expired for tenant", "cookie: theme=dark"]
    Cookie "cookie" "cookie" Secret
        ["cookie: remember=4fK29sQ0aLzP81mmT7"] ["cookie: theme=dark; lang=en"]
    Email "email" "email" Personal
        ["a.b+c@mail.example.co.uk", "/users/ann%40example.org/orders", "user=Lesley29@Example.Org;"]
        ["logo@2x.png", "git@github.com:a/b.git", "registry.example/identity@sha256:94aa", "SELECT email FROM t WHERE id = $1"]
    Card "card" "card" Personal
        ["4111 1111 1111 1111", "pan=378282246310005", "card 2282541084451481", "/cards/5454-5454-5454-5454"]
        ["order=4000474494280914", "0 9510 2219 1952", "batch 7969662344008133", "1795310607403852000"]
    Iban "iban" "iban" Personal
        ["GB29 NWBK 6016 1331 9268 19", "/accounts/DE89370400440532013000/transactions"]
        ["GB29NWBK60161331926818", "AB12CD34EF56AB12CD34"]
    BankAccount "bank_account" "bank_account" Personal
        ["sort_code=12-34-56", "sort code/account 03-15-27 93183558", "account_number: 12345678"]
        ["at 12-34-56 shard 93183558", "account locked"]
    Nino "nino" "nino" Personal
        ["AB123456C", "NINO jh 54 68 57 c", "?nino=AA808702A", "temporary NI number 63T12345"] ["BG020653E", "QQ123456C", "sku AB1234567"]
    Nhs "nhs_number" "nhs_number" Personal
        ["943 476 5919", "nhs=4023148105", "/patients/9690319388/letters"]
        ["batch=4250963603", "943 476 5918", "1795310607", "sequence=4023148105"]
    Utr "utr" "utr" Personal
        ["UTR 8431418219", "unique_taxpayer_reference=71452 37376"] ["ref 8431418219", "UTR missing"]
    DrivingLicence "driving_licence" "driving_licence" Personal
        ["licence WILLI509033SL6BA"] ["MORGA699999SM9IJ"]
    Passport "passport" "passport" Personal
        ["passport_number=568627504", "passport no HL9688441", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"] ["order 568627504", "passport desk 3"]
    Plate "vehicle_plate" "vehicle_plate" Personal
        ["reg ZK11 PDH", "vrm=AB12CDE", "vrm=A123BCD", "vehicle_registration: \"ABZ1234\""] ["image AB12CDE"]
    NationalId "national_id" "national_id" Personal
        ["dni=12345678Z", "pesel: 44051401359", "codice fiscale RSSMRA85T10A562S", "RSSMRA85T10A562S", "numero_securite_sociale=2 55 08 14 168 025 38", "BSN 111222333", "\"taxId\":\"65929970489\""]
        ["order 12345678Z", "batch 44051401359", "nie wieder", "RSSMRA85T10A562T"]
    VatNumber "vat_number" "vat_number" Personal
        ["VAT GB980780684", "vat_number=980 7806 84", "vat_reg_no: DE129273398"] ["vat 20", "ref GB980780684", "vat=1299"]
    LearnerNumber "learner_number" "learner_number" Personal
        ["UPN H801200001001", "uln=1000000000"] ["H801200001001", "uln=1000000001", "upn=ann"]
    ResidencePermit "residence_permit" "residence_permit" Personal
        ["brp_number=RE1234567", "share_code=W12 3A4 5BC"] ["sku RE1234567", "share code expired"]
    MeterPoint "meter_point" "meter_point" Personal
        ["MPAN 2034567890120", "mprn=9312345601"] ["count 2034567890120", "mpan 2034567890121"]
    Ssn "us_ssn" "us_ssn" Personal
        ["002-36-5196", "ssn=078051120"] ["000-36-5196", "build 078051120"]
    Imei "imei" "imei" Personal
        ["imei '355460524900880'", "IMEI: 35-546052-490088-0"] ["batch 355460524900880", "imei check passed"]
    Phone "phone" "phone" Personal
        ["+44 20 7946 0123", "%2B447021667022", "call (0116) 496 0149", "07700 900123", "tel=0116-496-0149"]
        ["2026-07-01T07:00:12.345678Z", "hosted-eu-20260812-09", "offset 0123456789", "+0100", "duration_ns=07700900123"]
    MacAddress "mac_address" "mac_address" Personal
        ["30:8d:5a:26:cc:75", "1c-41-ae-ea-dd-08"] ["12:30:45:123", "00:00:00:00:00:00"]
    Crypto "crypto_address" "crypto_address" Personal
        ["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"]
        ["0xfb6916", "63a43bf6c6625977a4a912ad3963148c81a94a1c"]
    DateOfBirth "date_of_birth" "date_of_birth" Personal
        ["dob=1940-06-23", "born 12 March 1980", "\"dateOfBirth\": \"20/06/1940\""]
        ["created_at=1940-06-23", "dob missing"]
    Geo "location" "location" Personal
        ["lat_lng=51.507351,-0.127758", "latitude: 51.50735"] ["ratio 51.507351", "lat=12.5ms"]
    StreetAddress "street_address" "street_address" Personal
        ["address_line_1=16 Joyce Harbor", "\"line_1\":\"Flat 2, Stone Oval\"", "deliver to 97 Murray Parkways, N97 0DZ", "lives near 12 High Street"]
        ["remote_address=10.0.0.1", "deliver to queue 7", "address in use"]
    Postcode "postcode" "postcode" Personal
        ["postcode=AB1 1AH", "SW1A 1AA", "?zip=90210-1234", "/addresses/EH12%209DN"]
        ["p99 5ms", "postcode lookup returned 50852 candidates", "E12 3PX4"]
    Name "person_name" "person_name" Personal
        ["full_name=Ann Example", "{\"login\":\"jdoe\",\"name\":\"Jane Doe\"}", "?name=Amelia%20Abernathy&x=1", "\"surname\":\"O'Malley\"", "Alison McDonald <a@example.org>"]
        ["service.name=cart", "name=cart-v1", "full_name is required"]
    Username "username" "username" Personal
        ["username=wsmith75", "\"login\":\"ann.b\"", "enduser.id: kharris",
            "invalid user alice from 10.0.0.1 port 22", "Failed password for alice from 10.0.0.1", "login failed for user \"alice\"",
            "open /home/alice/.ssh/config", "/Users/alice/Library/Caches", "C:\\Users\\alice\\AppData", "C:/Users/alice"]
        ["login failed", "POST /login?ok=1", "username=null", "password authentication failed for user \"postgres\"",
            "GET /home/offers/today", "/home/node/src/server.js", "POST /api/Users/create", "user created from template"]
    PublicIp "public_ip" "ip" Address
        ["81.41.159.210", "x-forwarded-for: 2a02:14b9:35d6::2aea", "peer 212.250.220.5:4711"]
        ["10.0.0.7", "127.0.0.1:8080", "[::1]:9080", "Chrome/11.9.13.61", "v1.11.22.161", "12:30:45:123", "abc::def"]
    PrivateIp "private_ip" "ip" Address [] []
}

impl Rule {
    /// The rule's place in [`BUILTINS`], and its number wherever rules are numbered.
    pub(crate) const fn id(self) -> u16 {
        self as u16
    }

    /// The rule's bit in a set of built-in rules.
    pub(crate) const fn bit(self) -> RuleSet {
        1 << self as u8
    }
}

/// What a built-in rule is called; `None` if there is none of this name.
pub(crate) fn by_name(name: &str) -> Option<u16> {
    BUILTINS.iter().position(|b| b.name == name).map(|i| i as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_fit_a_set() {
        let names: std::collections::BTreeSet<&str> = BUILTINS.iter().map(|b| b.name).collect();
        assert_eq!(names.len(), BUILTINS.len());
        assert!(BUILTINS.len() < 126, "the last bits are taken by other contexts");
        assert_eq!(by_name("public_ip"), Some(Rule::PublicIp.id()));
    }
}
