"""Texts to tokenize: natural, code, and random ones that look for trouble."""

from __future__ import annotations

import random

NATURAL = {
    "en": "The first train left before sunrise, and nobody on the platform said a word. It's what they'd agreed on; "
    'we\'ll see whether it holds. In 1984 there were 2,391 of them (about 12.5 %), "give or take".',
    "de": "Über den Dächern der Altstadt hängt Nebel. Die Straßenbahn hält, niemand steigt aus, und der Fahrer "
    "wünscht trotzdem einen schönen Tag. ÄRGER GIBT'S KEINEN. Größenordnung: 3.000 €.",
    "fr": "À l'aube, l'été n'était déjà plus qu'un souvenir ; les élèves rentraient, çà et là, sans se hâter. ÉTAT "
    "CIVIL : né(e) à Orléans, œuvre inachevée. Qu'est-ce que c'est ?",
    "es": "¿Dónde está la estación? Según el niño, a la vuelta de la esquina. ¡ACCIÓN! El pingüino añadió que mañana "
    "lloverá sobre la ciudad antigua.",
    "pt": "Não há razão para pressa: o avião só parte amanhã às três. A avó preparou pão, maçã e um pouco de café. "
    "INFORMAÇÃO.",
    "ru": "Утром над рекой стоял густой туман, и паром опоздал на сорок минут. Никто не удивился: так бывает каждую "
    "осень. ОБЪЁМ — 1 250 литров.",
    "el": "Το καράβι έφυγε νωρίς, πριν ξημερώσει. Οι γείτονες άνοιξαν τα παράθυρα και κοίταζαν τη θάλασσα χωρίς να "
    "μιλούν. ΆΝΟΙΞΗ, 21 Μαρτίου.",
    "ar": "في الصباح الباكر فتح البائع دكانه ورتب الفواكه على الرفوف. قال: «السعر ١٢٫٥ دينارًا»، ثم ابتسم ومضى.",
    "he": 'הרכבת הגיעה בזמן, אבל איש לא ירד ממנה. בתחנה ישבה אישה וקראה ספר ישן. מחיר: 45 ש"ח.',
    "hi": "सुबह होते ही बाज़ार में भीड़ लग गई। हिन्दी में लिखी एक पुरानी किताब बीस रुपये में बिक रही थी; दाम १२५ से घटकर २० हुआ।",
    "zh": "清晨的市场已经很热闹了，卖菜的老人把新鲜的蔬菜摆得整整齐齐。他说：“"
    "今年的收成比去年好，一共3,500斤。”大家都笑了。",
    "ja": "朝の電車は静かだった。窓の外には田んぼが広がり、遠くの山にはまだ雪が残っている。"
    "「きれいですね」と隣の人がつぶやいた。カタカナ・データ１２３。",
    "ko": "아침 시장은 벌써 사람들로 붐볐다. 할머니는 갓 구운 빵을 팔며 손님들에게 웃어 주었다. 가격은 2,500원입니다.",
    "th": "ตลาดเช้าวันนี้คึกคักมาก แม่ค้าจัดผักสดไว้เป็นระเบียบ ราคา ๑๒๐ บาท ทุกคนยิ้มแย้ม",
    "vi": "Sáng sớm, chợ đã đông người. Bà cụ bán rau mỉm cười và nói rằng năm nay được mùa hơn năm ngoái.",
    "tr": "Sabah erkenden pazara gittik; İSTANBUL'da "
    "yağmur yağıyordu. Çocuklar ılık sütlerini içti, ığdır elması yedi.",
}

CODE = '''\
#include <stdio.h>
int main(void) {
\tfor (int i = 0; i < 0x10; i++) { printf("%d\\t%s\\n", i, i%2 ? "odd" : "even"); }   // done
\treturn 0;
}

def fib(n: int) -> int:
    """Don't call with n<0."""
    return n if n < 2 else fib(n-1) + fib(n-2)

SELECT a.id, COUNT(*) AS n FROM users AS a WHERE a.email LIKE '%@example.com' GROUP BY 1;
<div class="row" id='x1'><a href="https://example.org/a?b=1&c=2#frag">HTTPServerError</a></div>\r
{"key": [1, 2.5e-10, null, true], "snake_case_name": "camelCaseName", "λ": "→"}
    if (x != null && !y.isEmpty()) { z += 1_000_000; }\r\n\r\n\r\n
'''

#: Characters and sequences that stand next to each other badly in some pattern.
ATOMS = (
    "a", "B", "é", "É", "ñ", "中", "国", "あ", "ー", "1", "2", "3", "٣", " ", "  ", "\n", "\r", "\r\n", "\t", "\u3000",
    "\u00a0", "\u0085", "'", "'s", "'S", "'ll", "'LL", "'re", "'ſ", "ſ", "!", "/", "//", "$", "+", "—", "…", "。", "，",
    "‘", "\u0301", "\u0308", "ि", "ह", "\x00", "\x01", "\x7f", "\u200d", "\u200b", "😀", "👨‍👩‍👧", "ǅ", "ʰ", "ª", "Ⴀ",
    "ა",
    "Ა", "ﬀ", "Ａ", "ａ", "！", "～", "\U00010400", "\U00010428", "ⅷ", "²", "½", "\ufeff", "\ufffd", "\U0001d7d8", "_",
    "-", ".", "<", "{", "ab", "The", " the", "HTTP", "don't", "\u2028", "\u1680", "\ud7ff", "가", "\u0800", "龥", "龦",
    "\u3099", "゠", "\u0378", "\ue000", "\U000e0001", "A\u0301", "\U00013a0c", "\u1c89", "▁", " ▁", "õ",
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz   ABCэюя中文"
#: Every code point but surrogates.
EVERY = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]


def random_text(r: random.Random, i: int) -> str:
    """A short string; `i` says of which sort."""
    sort = i % 5
    if sort < 2:
        return "".join(r.choice(ATOMS) for _ in range(r.randint(1, 12)))
    if sort == 2:
        return "".join(
            r.choice(ATOMS) if r.random() < 0.7 else chr(r.choice(EVERY)) for _ in range(r.randint(1, 30))
        )
    if sort == 3:
        return "".join(chr(r.choice(EVERY)) for _ in range(r.randint(1, 8)))
    return "".join(r.choice(LETTERS) for _ in range(r.randint(1, 120)))


def random_bytes(r: random.Random, i: int) -> bytes:
    """Bytes that are seldom UTF-8, without those that llama.cpp dies of (above U+10FFFF)."""
    if i % 2:
        text = bytearray("".join(r.choice(ATOMS) for _ in range(r.randint(1, 12))).encode())
        text[r.randrange(len(text))] = r.randint(0, 0xF3)
        return bytes(text)
    likely = (0x20, 0x61, 0xE4, 0xB8, 0xAD, 0xC0, 0x80, 0xED, 0xA0)
    return bytes(r.choice((*likely, r.randint(0x80, 0xF3))) for _ in range(r.randint(1, 20)))


def beyond_unicode(text: bytes) -> bool:
    """Holds what llama.cpp takes for a character above U+10FFFF, and dies of."""
    return any(
        lead >= 0xF4 and (lead >= 0xF5 or (i + 1 < len(text) and text[i + 1] >= 0x90))
        for i, lead in enumerate(text)
    )
