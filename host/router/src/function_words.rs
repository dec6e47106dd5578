//! Words that say how a sentence is built rather than what it is about, for the languages where we keep a list.
//!
//! A table and nothing else. Apostrophes are already dropped (`don't` is `dont`). In a language without a
//! list, rarity alone tells words apart.

use crate::Language;

/// The function words of a language, sorted; empty where there is no list.
pub(crate) fn of(language: Language) -> &'static [&'static str] {
    match language {
        Language::English => ENGLISH,
        Language::German => GERMAN,
        Language::French => FRENCH,
        Language::Spanish => SPANISH,
        Language::Italian => ITALIAN,
        Language::Portuguese => PORTUGUESE,
        Language::Dutch => DUTCH,
        Language::Swedish => SWEDISH,
        Language::Russian => RUSSIAN,
        Language::Polish => POLISH,
        Language::Turkish => TURKISH,
        Language::Danish => DANISH,
        Language::Norwegian => NORWEGIAN,
        _ => &[],
    }
}

#[rustfmt::skip]
const ENGLISH: &[&str] = &[
    "a", "about", "above", "after", "again", "against", "all", "also", "am", "an", "and", "any", "are", "arent",
    "as", "at", "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can",
    "cannot", "cant", "could", "couldnt", "d", "did", "didnt", "do", "does", "doesnt", "doing", "dont", "down",
    "during", "each", "either", "else", "ever", "every", "few", "find", "for", "from", "further", "get", "gets",
    "getting", "give", "got", "had", "hadnt", "has", "hasnt", "have", "havent", "having", "he", "hed", "hell",
    "help", "her", "here", "heres", "hers", "herself", "hes", "hey", "hi", "him", "himself", "his", "how", "hows",
    "i", "id", "if", "ill", "im", "in", "into", "is", "isnt", "it", "its", "itself", "ive", "just", "know", "let",
    "lets", "like", "ll", "m", "may", "me", "might", "more", "most", "much", "must", "my", "myself", "need",
    "needs", "neither", "no", "nor", "not", "now", "of", "off", "oh", "ok", "okay", "on", "once", "one", "only",
    "onto", "or", "other", "ought", "our", "ours", "ourselves", "out", "over", "own", "per", "please", "rather",
    "re", "really", "s", "same", "shall", "shant", "she", "shed", "shes", "should", "shouldnt", "show", "so",
    "some", "such", "t", "tell", "than", "thank", "thanks", "that", "thats", "the", "their", "theirs", "them",
    "themselves", "then", "there", "theres", "these", "they", "theyd", "theyll", "theyre", "theyve", "this",
    "those", "though", "through", "to", "too", "under", "until", "up", "upon", "us", "ve", "very", "via", "want",
    "wants", "was", "wasnt", "we", "wed", "well", "were", "werent", "weve", "what", "whatever", "whats", "when",
    "whens", "where", "wheres", "which", "while", "who", "whom", "whos", "whose", "why", "whys", "will", "with",
    "within", "without", "wont", "would", "wouldnt", "yes", "yet", "you", "youd", "youll", "your", "youre",
    "yours", "yourself", "yourselves", "youve",
];

#[rustfmt::skip]
const GERMAN: &[&str] = &[
    "aber", "alle", "allem", "allen", "aller", "alles", "als", "also", "am", "an", "andere", "anderen", "auch",
    "auf", "aus", "bei", "bin", "bis", "bist", "bitte", "da", "damit", "dann", "das", "dass", "dein", "deine",
    "dem", "den", "der", "des", "dessen", "dich", "die", "dies", "diese", "diesem", "diesen", "dieser", "dieses",
    "dir", "doch", "dort", "du", "durch", "ein", "eine", "einem", "einen", "einer", "eines", "er", "es", "etwas",
    "euch", "euer", "für", "gegen", "habe", "haben", "hat", "hatte", "hier", "hin", "hinter", "ich", "ihm", "ihn",
    "ihnen", "ihr", "ihre", "im", "in", "indem", "ins", "ist", "jede", "jeden", "jeder", "jedes", "jetzt", "kann",
    "kein", "keine", "können", "machen", "man", "mein", "meine", "mich", "mir", "mit", "muss", "nach", "nicht",
    "noch", "nun", "nur", "ob", "oder", "ohne", "sehr", "sein", "seine", "sich", "sie", "sind", "so", "soll",
    "sondern", "um", "und", "uns", "unser", "unter", "viel", "vom", "von", "vor", "war", "waren", "warum", "was",
    "wegen", "weil", "welche", "welcher", "welches", "wenn", "wer", "werde", "werden", "wie", "wieder", "will",
    "wir", "wird", "wo", "wollen", "würde", "zu", "zum", "zur", "zwar", "zwischen", "über",
];

#[rustfmt::skip]
const FRENCH: &[&str] = &[
    "ai", "ainsi", "alors", "au", "aucun", "aussi", "autre", "aux", "avec", "avoir", "bien", "c", "car", "ce",
    "cela", "ces", "cet", "cette", "ceux", "chaque", "ci", "comme", "comment", "d", "dans", "de", "des", "donc",
    "du", "elle", "elles", "en", "encore", "est", "et", "eu", "eux", "faire", "fait", "il", "ils", "j", "je", "l",
    "la", "le", "les", "leur", "leurs", "lui", "m", "ma", "mais", "me", "mes", "mon", "même", "n", "ne", "ni",
    "nos", "notre", "nous", "on", "ont", "ou", "où", "par", "pas", "peut", "peux", "plus", "pour", "pourquoi",
    "pouvez", "qu", "quand", "que", "quel", "quelle", "quelles", "quels", "qui", "s", "sa", "sans", "se", "ses",
    "si", "son", "sont", "sur", "t", "ta", "te", "tes", "toi", "ton", "tous", "tout", "toute", "tu", "un", "une",
    "va", "veux", "vos", "votre", "voudrais", "vous", "y", "à", "été", "être",
];

#[rustfmt::skip]
const SPANISH: &[&str] = &[
    "a", "al", "algo", "alguna", "algún", "ante", "antes", "aquí", "como", "con", "cual", "cuando", "cuál",
    "cuándo", "cómo", "de", "del", "desde", "donde", "dónde", "e", "el", "ella", "ellas", "ellos", "en", "entre",
    "era", "eres", "es", "esa", "ese", "eso", "esta", "estas", "este", "esto", "estos", "está", "están", "favor",
    "fue", "ha", "hace", "hacer", "han", "hasta", "hay", "la", "las", "le", "les", "lo", "los", "me", "mi", "mis",
    "muy", "más", "necesito", "ni", "no", "nos", "o", "para", "pero", "por", "porque", "puede", "puedes", "puedo",
    "que", "quien", "quiero", "qué", "se", "sea", "ser", "si", "sin", "sobre", "son", "soy", "su", "sus", "sí",
    "también", "te", "tengo", "ti", "tiene", "todo", "tu", "tus", "tú", "un", "una", "unas", "uno", "unos", "y",
    "ya", "yo", "él",
];

#[rustfmt::skip]
const ITALIAN: &[&str] = &[
    "a", "ad", "ai", "al", "alla", "alle", "allo", "anche", "avere", "c", "che", "chi", "ci", "come", "con",
    "cosa", "cui", "d", "da", "dal", "dalla", "dei", "del", "della", "delle", "dello", "di", "dove", "e", "ed",
    "era", "essere", "fare", "fra", "gli", "ha", "hai", "hanno", "ho", "i", "il", "in", "io", "l", "la", "le",
    "lei", "li", "lo", "loro", "lui", "ma", "me", "mi", "mia", "mie", "mio", "ne", "nei", "nel", "nella", "no",
    "noi", "non", "nostro", "o", "per", "perché", "più", "puoi", "può", "qual", "quale", "quando", "quello",
    "questa", "questo", "qui", "se", "sei", "si", "sia", "sono", "su", "sua", "sul", "sulla", "suo", "te", "ti",
    "tra", "tu", "tua", "tuo", "un", "una", "uno", "vi", "voglio", "voi", "vorrei", "è",
];

#[rustfmt::skip]
const PORTUGUESE: &[&str] = &[
    "a", "ao", "aos", "aquela", "aquele", "as", "até", "com", "como", "da", "das", "de", "dela", "dele", "do",
    "dos", "e", "ela", "elas", "ele", "eles", "em", "entre", "era", "essa", "esse", "esta", "este", "eu", "favor",
    "foi", "fosse", "há", "isso", "isto", "já", "lhe", "mais", "mas", "me", "mesmo", "meu", "minha", "muito",
    "na", "nas", "nem", "no", "nos", "nossa", "nosso", "não", "nós", "o", "onde", "os", "ou", "para", "pela",
    "pelo", "pode", "por", "porque", "posso", "preciso", "qual", "quando", "que", "quem", "quero", "se", "sem",
    "ser", "seu", "sua", "são", "só", "também", "te", "tem", "ter", "tu", "tua", "um", "uma", "você", "à", "é",
];

#[rustfmt::skip]
const DUTCH: &[&str] = &[
    "aan", "al", "alle", "als", "bij", "dan", "dat", "de", "deze", "die", "dit", "doen", "door", "een", "en",
    "er", "ge", "geen", "haar", "had", "heb", "hebben", "heeft", "hem", "het", "hier", "hij", "hoe", "hun",
    "iets", "ik", "in", "is", "ja", "je", "jij", "jou", "kan", "kun", "kunt", "maar", "me", "meer", "met", "mij",
    "mijn", "moet", "na", "naar", "niet", "nog", "nu", "of", "om", "omdat", "ons", "ook", "op", "over", "te",
    "tegen", "toch", "toen", "tot", "u", "uit", "uw", "van", "veel", "voor", "waar", "waarom", "wanneer", "want",
    "waren", "was", "wat", "we", "wel", "welke", "werd", "wie", "wij", "wil", "worden", "zal", "ze", "zich",
    "zij", "zijn", "zo", "zou",
];

#[rustfmt::skip]
const SWEDISH: &[&str] = &[
    "alla", "att", "av", "blev", "bli", "blir", "de", "dem", "den", "denna", "det", "detta", "dig", "din", "ditt",
    "du", "där", "då", "efter", "ej", "eller", "en", "er", "ett", "från", "för", "ha", "hade", "han", "hans",
    "har", "henne", "hennes", "hon", "hur", "här", "i", "inte", "jag", "kan", "man", "med", "men", "mig", "min",
    "mitt", "mot", "mycket", "ni", "nu", "när", "någon", "något", "och", "om", "oss", "på", "sig", "sin", "ska",
    "skulle", "som", "så", "till", "under", "upp", "ut", "vad", "var", "vara", "varför", "vem", "vi", "vid",
    "vilken", "vill", "vår", "än", "är", "över",
];

#[rustfmt::skip]
const RUSSIAN: &[&str] = &[
    "а", "без", "был", "была", "были", "было", "быть", "в", "вам", "вас", "весь", "во", "вот", "все", "всего",
    "вы", "где", "да", "для", "до", "его", "ее", "если", "есть", "еще", "же", "за", "и", "из", "или", "им", "их",
    "к", "как", "когда", "кто", "ли", "мне", "мой", "мы", "на", "надо", "не", "него", "нее", "нет", "ни", "но",
    "о", "об", "он", "она", "они", "от", "по", "под", "пожалуйста", "при", "с", "со", "так", "такой", "там", "то",
    "только", "ты", "у", "уже", "хочу", "чем", "что", "чтобы", "эта", "эти", "это", "этот", "я",
];

#[rustfmt::skip]
const POLISH: &[&str] = &[
    "a", "aby", "albo", "ale", "bardzo", "bez", "bo", "być", "ci", "co", "czy", "dla", "do", "gdzie", "go", "i",
    "ich", "ile", "im", "ja", "jak", "jako", "jej", "jest", "jestem", "już", "kiedy", "kto", "które", "który",
    "mam", "mi", "mnie", "mogę", "może", "muszę", "my", "na", "nad", "nich", "nie", "o", "od", "on", "ona", "oni",
    "po", "pod", "proszę", "przez", "przy", "się", "są", "ta", "tak", "tam", "te", "tego", "ten", "to", "tu",
    "ty", "w", "we", "z", "za", "ze", "że", "żeby",
];

#[rustfmt::skip]
const TURKISH: &[&str] = &[
    "acaba", "ama", "bana", "bazı", "ben", "beni", "benim", "bir", "biz", "bu", "bunu", "da", "daha", "de",
    "değil", "diye", "en", "gibi", "hangi", "hem", "hep", "her", "ile", "ise", "için", "kadar", "ki", "kim",
    "lütfen", "mi", "mu", "mü", "mı", "nasıl", "ne", "neden", "nerede", "o", "olan", "olarak", "onu", "sen",
    "siz", "ve", "veya", "ya", "çok", "şey", "şu",
];

#[rustfmt::skip]
const DANISH: &[&str] = &[
    "af", "alle", "at", "blev", "bliver", "da", "de", "dem", "den", "denne", "der", "deres", "det", "dette",
    "dig", "din", "du", "efter", "eller", "en", "er", "et", "for", "fra", "ham", "han", "har", "havde", "hende",
    "her", "hun", "hvad", "hvem", "hvis", "hvor", "hvordan", "i", "ikke", "jeg", "kan", "man", "med", "meget",
    "men", "mig", "min", "mit", "ned", "nu", "når", "og", "om", "op", "os", "på", "sig", "skal", "som", "til",
    "ud", "under", "var", "ved", "vi", "vil", "være",
];

#[rustfmt::skip]
const NORWEGIAN: &[&str] = &[
    "alle", "at", "av", "ble", "blir", "da", "de", "deg", "dem", "den", "denne", "det", "dette", "din", "du",
    "eller", "en", "er", "et", "etter", "for", "fra", "ha", "han", "har", "henne", "her", "hun", "hva", "hvem",
    "hvis", "hvor", "hvordan", "i", "ikke", "jeg", "kan", "man", "med", "meg", "meget", "men", "min", "mitt",
    "ned", "noe", "nå", "når", "og", "om", "opp", "oss", "på", "seg", "skal", "som", "så", "til", "ut", "var",
    "ved", "vi", "vil", "være",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_sorted_for_binary_search() {
        for language in Language::ALL {
            assert!(of(*language).is_sorted(), "{language:?}");
        }
    }
}
