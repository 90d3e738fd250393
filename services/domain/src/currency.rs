//! The currencies that are in use. Pure data, from ISO 4217.

/// Alphabetic codes that are in use and have minor units, sorted. From ISO 4217, list one (currency, fund and precious metal codes),
/// as kept by the maintenance agency at <https://www.six-group.com/en/products-services/financial-information/data-standards.html>,
/// up to amendment 180 of 2025. Without those that have no minor units to count in: metals, units of account, test codes, "no
/// currency". A code that is withdrawn later may stay here until nobody asks for it.
pub(crate) const IN_USE: [&str; 165] = [
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BHD", "BIF", "BMD", "BND",
    "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CLF", "CLP", "CNY",
    "COP", "COU", "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP",
    "GBP", "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD",
    "IRR", "ISK", "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK", "LBP",
    "LKR", "LRD", "LSL", "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN",
    "MXV", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN",
    "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD",
    "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TND", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX",
    "USD", "USN", "UYI", "UYU", "UYW", "UZS", "VED", "VES", "VND", "VUV", "WST", "XAD", "XAF", "XCD", "XCG", "XOF",
    "XPF", "YER", "ZAR", "ZMW", "ZWG",
];

/// Codes whose minor unit is not a hundredth, with the digits behind the point. From the same list.
const DIGITS: [(&str, usize); 26] = [
    ("BHD", 3),
    ("BIF", 0),
    ("CLF", 4),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("IQD", 3),
    ("ISK", 0),
    ("JOD", 3),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("PYG", 0),
    ("RWF", 0),
    ("TND", 3),
    ("UGX", 0),
    ("UYI", 0),
    ("UYW", 4),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
];

/// How many digits of minor units stand behind the point.
pub(crate) fn digits(code: &str) -> usize {
    let found = DIGITS.binary_search_by_key(&code, |(code, _)| code).ok();
    found.and_then(|index| DIGITS.get(index)).map_or(2, |(_, digits)| *digits)
}

/// Whether it can be asked for.
pub(crate) fn is_in_use(code: &str) -> bool {
    IN_USE.binary_search(&code).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{DIGITS, IN_USE, digits};

    #[test]
    fn most_have_two_digits_and_the_others_are_in_use() {
        assert!(DIGITS.is_sorted_by(|(a, _), (b, _)| a < b));
        assert!(DIGITS.iter().all(|(code, digits)| IN_USE.contains(code) && *digits != 2));
        assert_eq!(["EUR", "JPY", "KWD", "CLF", "MGA", "ZZZ"].map(digits), [2, 0, 3, 4, 2, 2]);
    }

    #[test]
    fn every_code_is_there_once_and_in_order() {
        assert!(IN_USE.is_sorted_by(|a, b| a < b));
        assert!(IN_USE.iter().all(|code| code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_uppercase())));
    }
}
