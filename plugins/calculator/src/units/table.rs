//! The units that are known: what each measures, and how much of the base unit it is.
//!
//! Owns no state; pure. Factors are exact where the unit is defined by one (international yard and
//! pound, US customary volumes, IEC binary prefixes).

/// A unit of measurement: `value * factor + offset` is the amount in the base unit of its kind.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: &'static str,
    pub(super) symbol: &'static str,
    pub(super) factor: f64,
    pub(super) offset: f64,
    names: &'static [&'static str],
}

/// The unit of this name; plurals in `s` are understood, and so are `metre` and `meter`.
pub(super) fn find(name: &str) -> Option<&'static Unit> {
    let name = name.trim().trim_start_matches("degrees ").trim_start_matches("degree ");
    let name = name.strip_prefix("a ").or_else(|| name.strip_prefix("an ")).unwrap_or(name);
    let name = name.replace("metre", "meter").replace("litre", "liter");
    let known = |name: &str| UNITS.iter().find(|unit| unit.names.contains(&name));
    known(&name).or_else(|| name.strip_suffix('s').filter(|single| single.len() > 2).and_then(known)).or_else(
        || {
            let singular = name.replacen("s per ", " per ", 1);
            known(&singular)
        },
    )
}

const fn unit(kind: &'static str, symbol: &'static str, factor: f64, names: &'static [&'static str]) -> Unit {
    Unit { kind, symbol, factor, offset: 0.0, names }
}

const POUND: f64 = 0.453_592_37;
const INCH: f64 = 0.0254;
const FOOT: f64 = 0.3048;
const MILE: f64 = 1_609.344;
const GALLON: f64 = 3.785_411_784;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;

static UNITS: &[Unit] = &[
    unit("length", "nm", 1e-9, &["nm", "nanometer"]),
    unit("length", "µm", 1e-6, &["um", "µm", "micron", "micrometer"]),
    unit("length", "mm", 1e-3, &["mm", "millimeter"]),
    unit("length", "cm", 1e-2, &["cm", "centimeter"]),
    unit("length", "m", 1.0, &["m", "meter"]),
    unit("length", "km", 1e3, &["km", "kilometer", "kms"]),
    unit("length", "in", INCH, &["in", "inch", "inches", "\""]),
    unit("length", "ft", FOOT, &["ft", "foot", "feet", "'"]),
    unit("length", "yd", 3.0 * FOOT, &["yd", "yard"]),
    unit("length", "mi", MILE, &["mi", "mile"]),
    unit("length", "nmi", 1_852.0, &["nmi", "nautical mile"]),
    unit("length", "ly", 9_460_730_472_580_800.0, &["ly", "light year", "lightyear"]),
    unit("weight", "mg", 1e-6, &["mg", "milligram"]),
    unit("weight", "g", 1e-3, &["g", "gram", "gr"]),
    unit("weight", "kg", 1.0, &["kg", "kilogram", "kilo", "kgs"]),
    unit("weight", "t", 1e3, &["t", "tonne", "metric ton"]),
    unit("weight", "oz", POUND / 16.0, &["oz", "ounce"]),
    unit("weight", "lb", POUND, &["lb", "pound", "lbs"]),
    unit("weight", "st", 14.0 * POUND, &["st", "stone"]),
    unit("weight", "short ton", 2_000.0 * POUND, &["ton", "short ton", "us ton"]),
    unit("volume", "ml", 1e-3, &["ml", "milliliter", "cc"]),
    unit("volume", "cl", 1e-2, &["cl", "centiliter"]),
    unit("volume", "dl", 1e-1, &["dl", "deciliter"]),
    unit("volume", "l", 1.0, &["l", "liter"]),
    unit("volume", "m³", 1e3, &["m3", "m^3", "cubic meter"]),
    unit("volume", "ft³", 28.316_846_592, &["ft3", "ft^3", "cubic foot", "cubic feet"]),
    unit("volume", "tsp", GALLON / 768.0, &["tsp", "teaspoon"]),
    unit("volume", "tbsp", GALLON / 256.0, &["tbsp", "tablespoon"]),
    unit("volume", "fl oz", GALLON / 128.0, &["fl oz", "floz", "fluid ounce"]),
    unit("volume", "cup", GALLON / 16.0, &["cup"]),
    unit("volume", "pt", GALLON / 8.0, &["pt", "pint"]),
    unit("volume", "qt", GALLON / 4.0, &["qt", "quart"]),
    unit("volume", "gal", GALLON, &["gal", "gallon", "us gallon"]),
    unit("volume", "imp gal", 4.546_09, &["imperial gallon", "uk gallon", "imp gal"]),
    unit("time", "ns", 1e-9, &["ns", "nanosecond"]),
    unit("time", "µs", 1e-6, &["us", "µs", "microsecond"]),
    unit("time", "ms", 1e-3, &["ms", "millisecond"]),
    unit("time", "s", 1.0, &["s", "sec", "second"]),
    unit("time", "min", 60.0, &["min", "minute"]),
    unit("time", "h", HOUR, &["h", "hr", "hour"]),
    unit("time", "day", DAY, &["d", "day"]),
    unit("time", "week", 7.0 * DAY, &["w", "wk", "week"]),
    // A year of the Gregorian calendar on average, and a twelfth of it.
    unit("time", "month", 30.436_875 * DAY, &["month"]),
    unit("time", "year", 365.2425 * DAY, &["y", "yr", "year"]),
    unit("speed", "m/s", 1.0, &["m/s", "mps", "meter per second", "meters per second"]),
    unit("speed", "km/h", 1e3 / HOUR, &["km/h", "kph", "kmh", "kilometer per hour", "kilometers per hour"]),
    unit("speed", "mph", MILE / HOUR, &["mph", "mi/h", "mile per hour", "miles per hour"]),
    unit("speed", "kn", 1_852.0 / HOUR, &["kn", "kt", "knot"]),
    unit("speed", "ft/s", FOOT, &["ft/s", "fps", "foot per second", "feet per second"]),
    unit("area", "cm²", 1e-4, &["cm2", "cm^2", "square centimeter"]),
    unit("area", "m²", 1.0, &["m2", "m^2", "sqm", "square meter"]),
    unit("area", "km²", 1e6, &["km2", "km^2", "square kilometer"]),
    unit("area", "ha", 1e4, &["ha", "hectare"]),
    unit("area", "acre", 4_046.856_422_4, &["acre", "ac"]),
    unit("area", "in²", INCH * INCH, &["in2", "in^2", "square inch", "square inches"]),
    unit("area", "ft²", FOOT * FOOT, &["ft2", "ft^2", "sqft", "sq ft", "square foot", "square feet"]),
    unit("area", "mi²", MILE * MILE, &["mi2", "mi^2", "square mile"]),
    unit("data", "bit", 0.125, &["bit"]),
    unit("data", "B", 1.0, &["b", "byte"]),
    unit("data", "kB", 1e3, &["kb", "kilobyte"]),
    unit("data", "MB", 1e6, &["mb", "megabyte"]),
    unit("data", "GB", 1e9, &["gb", "gigabyte"]),
    unit("data", "TB", 1e12, &["tb", "terabyte"]),
    unit("data", "PB", 1e15, &["pb", "petabyte"]),
    unit("data", "KiB", 1_024.0, &["kib", "kibibyte"]),
    unit("data", "MiB", 1_048_576.0, &["mib", "mebibyte"]),
    unit("data", "GiB", 1_073_741_824.0, &["gib", "gibibyte"]),
    unit("data", "TiB", 1_099_511_627_776.0, &["tib", "tebibyte"]),
    unit("data", "Mbit", 125_000.0, &["mbit", "megabit"]),
    unit("data", "Gbit", 125_000_000.0, &["gbit", "gigabit"]),
    unit("energy", "J", 1.0, &["j", "joule"]),
    unit("energy", "kJ", 1e3, &["kj", "kilojoule"]),
    unit("energy", "cal", 4.184, &["cal", "calorie"]),
    unit("energy", "kcal", 4_184.0, &["kcal", "kilocalorie"]),
    unit("energy", "Wh", HOUR, &["wh", "watt hour"]),
    unit("energy", "kWh", 1e3 * HOUR, &["kwh", "kilowatt hour"]),
    unit("power", "W", 1.0, &["watt"]),
    unit("power", "kW", 1e3, &["kw", "kilowatt"]),
    unit("power", "hp", 745.699_871_582_270_2, &["hp", "horsepower"]),
    unit("pressure", "Pa", 1.0, &["pa", "pascal"]),
    unit("pressure", "hPa", 100.0, &["hpa", "mbar", "millibar", "hectopascal"]),
    unit("pressure", "kPa", 1e3, &["kpa", "kilopascal"]),
    unit("pressure", "bar", 1e5, &["bar"]),
    unit("pressure", "atm", 101_325.0, &["atm", "atmosphere"]),
    unit("pressure", "psi", 6_894.757_293_168_361, &["psi"]),
    unit("angle", "°", std::f64::consts::PI / 180.0, &["deg", "degree", "degrees", "°"]),
    unit("angle", "rad", 1.0, &["rad", "radian"]),
    unit("temperature", "K", 1.0, &["k", "kelvin"]),
    Unit {
        kind: "temperature",
        symbol: "°C",
        factor: 1.0,
        offset: 273.15,
        names: &["c", "°c", "celsius", "centigrade", "deg c", "degrees c"],
    },
    Unit {
        kind: "temperature",
        symbol: "°F",
        factor: 5.0 / 9.0,
        offset: 459.67 * 5.0 / 9.0,
        names: &["f", "°f", "fahrenheit", "deg f", "degrees f"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_unit() {
        let mut seen = std::collections::BTreeSet::new();
        for name in UNITS.iter().flat_map(|unit| unit.names) {
            assert!(seen.insert(name), "{name}");
            assert_eq!(*name, name.to_lowercase(), "questions arrive in lower case");
        }
    }

    #[test]
    fn plurals_and_spellings_are_understood() {
        for (name, symbol) in
            [("kilometres", "km"), ("litres", "l"), ("ounces", "oz"), ("degrees celsius", "°C")]
        {
            assert_eq!(find(name).map(|unit| unit.symbol), Some(symbol), "{name}");
        }
        assert!(find("leeks").is_none());
    }
}
