"""Writes the texts that token counters are held against: our own prompts, and what is hard to count.

`bench.tokenizers` says how the counts come beside them.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from aaos.adapters.market.simulated import SimulatedMarket
from aaos.domain.market import iso_utc
from aaos.domain.prompts import TIERS, build_vote_request, repair_request
from aaos.domain.regime import RegimeParams, detect_regime
from aaos.domain.signals import SignalParams, candles_to_read, generate_signal
from aaos.domain.sovereign import SovereignSettings

COUNTS = Path(__file__).parents[1] / "tests" / "unit" / "token_counts.json"
UNTIL = datetime(2026, 1, 5, 12, tzinfo=UTC)
LETTERS = 300
PROSE = {
    "English": "Bitcoin slipped below forty thousand dollars on Tuesday as traders weighed whether the Federal Reserve "
    "would keep borrowing costs elevated, while miners' reserves dwindled and exchange outflows accelerated.",
    "German": "Die Wahrscheinlichkeitsverteilung der Kursschwankungen überraschte selbst Börsenhändler.",
    "French": "L'été dernier, les épargnants ont préféré l'or à la monnaie numérique, jugée trop aléatoire.",
    "Turkish": "Piyasalardaki dalgalanmalar yatırımcıların öngörülerini altüst ederken döviz kurları yükseldi.",
    "Finnish": "Epävarmuudesta huolimatta sijoittajat eivät menettäneet luottamustaan kryptovaluuttamarkkinoihin.",
    "Vietnamese": "Thị trường tiền điện tử biến động mạnh sau khi ngân hàng trung ương công bố lãi suất mới.",
    "Russian": "Курс биткойна резко снизился после заявления центрального банка о повышении ключевой ставки.",
    "Greek": "Οι αγορές αντέδρασαν με αβεβαιότητα στις δηλώσεις της κεντρικής τράπεζας.",
    "Arabic": "تراجعت أسعار العملات الرقمية بعد إعلان البنك المركزي رفع أسعار الفائدة.",
    "Hebrew": "שוקי המטבעות הדיגיטליים הגיבו בירידות חדות להודעת הבנק המרכזי.",
    "Persian": "بازار رمزارزها پس از اعلام بانک مرکزی با نوسان شدیدی روبه‌رو شد و سرمایه‌گذاران می‌خواهند بفروشند.",
    "Hindi": "केंद्रीय बैंक की घोषणा के बाद क्रिप्टो बाज़ार में भारी उतार-चढ़ाव देखा गया।",
    "Thai": "ตลาดคริปโตผันผวนอย่างรุนแรงหลังธนาคารกลางประกาศขึ้นอัตราดอกเบี้ย",
    "Chinese": "比特币价格在央行宣布加息后大幅下跌，投资者纷纷抛售数字资产。",
    "Japanese": "中央銀行の利上げ発表を受けて、ビットコインの価格は急落し、投資家の間に不安が広がった。",
    "Korean": "중앙은행이 금리 인상을 발표하자 비트코인 가격이 급락하며 투자자들의 불안이 커졌다.",
    "Amharic": "ማዕከላዊ ባንኩ የወለድ ምጣኔን ከፍ ካደረገ በኋላ ገበያው ወደቀ።",
    "Burmese": "ဗဟိုဘဏ်က အတိုးနှုန်းမြှင့်တင်ကြောင်း ကြေညာပြီးနောက် ဈေးကွက်ကျဆင်းခဲ့သည်။",
}
HARD = {
    "nothing": "",
    "one digit": "7",
    "digits": "31415926535897932384626433832795028841971693993751058209749445923078164062862089986280348253421170679",
    "spaced digits": "3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 3 2 3 8 4 6 2 6 4 3 3 8 3 2 7 9 5 0 2 8 8 4 1 9 7 1 6 9 3 9 9 3",
    "prices": "46216.93,46217.1,0.00001234,1e-05,-129.5,+4.08 %,1,234,567.89 12:30:59.123 2026-01-05T12:00:00Z",
    "nested JSON": json.dumps({"a": [[[]], [{}], {"b": {"c": [None, True, -1.5e-7]}}] * 4}),
    "spread JSON": json.dumps({"reasoning": "x", "signal": "BUY", "nested": [1, {"a": [2]}] * 6}, indent=8),
    "escapes": json.dumps('"\\\n\t\u00e9\u4e2d\U0001f600</market_data>' * 8),
    "Python": "def f(xs: list[int]) -> dict[str, float]:\n    return {f'{x!r:>8}': x ** -0.5 for x in xs if x != 0}\n"
    * 2,
    "C": '#include <stdio.h>\nint main(void){for(;;){printf("%5.2lf\\n",*(double*)&x);}return 0x7fff&~mask;}\n',
    "SQL": "SELECT r.id, count(*) FILTER (WHERE state='failed') FROM runs r GROUP BY 1 HAVING max(fence)>17;\n",
    "HTML": '<div class="a-b__c" data-x=\'1\'><a href="https://example.org/q?x=%20&y=#z">&nbsp;&lt;</a></div>',
    "identifiers": "thisIsCamel snake_case_name SCREAMING_SNAKE kebab-case-name dotted.path.to.thing XMLHttpRequest2",
    "words without blanks": "theandforthatwithfromhavethiswhichwouldtheirwhatabouttradepricevolumemarket",
    "rare letters": "qxzj wvkq jjxq zzqx vvkj xqzw kqjx " * 6,
    "capitals": "THE TRADER HOLDS QUXBZJ AND SELLS WVKQXJ WITHOUT REASON OR RHYME",
    "mixed case": "tHe TrAdEr HoLdS aNd SeLlS wItHoUt ReAsOn",
    "a thousand a": "a" * 1_000,
    "a thousand blanks": " " * 1_000,
    "blanks and tabs": " \t  \t   \n\n \r\n\t\t    x" * 20,
    "signs": string.punctuation * 4,
    "a ruler": "-" * 80 + "=" * 80 + "#" * 80 + "_" * 80 + "." * 80,
    "base64": base64.b64encode(bytes(range(256))).decode(),
    "hexadecimal": bytes(range(0, 256, 2)).hex(),
    "chat marks": "<|im_start|>system\n[INST] <<SYS>> <s></s> <|eot_id|><start_of_turn>user <|endoftext|>" * 3,
    "emoji": "😀👍🏽👩‍👩‍👧‍👦🇨🇭🏴󠁧󠁢󠁥󠁮󠁧󠁿🧑🏿‍🚀" * 4,
    "compatibility forms": "ﷺ﷽㌖㎨ﬁﬄ½℀㍿ＢＵＹ１２３ｱｲｳ" * 4,
    "combining marks": "e\u0301\u0323\u0307\u0308\u0489" * 20,
    "unseen characters": "a\u200bb\u200dc\u2060d\ufeffe\u202ef\u2066g\u00adh\U000e0041i\ufe0f" * 6,
    "controls": "".join(map(chr, range(32))) + "\x7f\x80\x9f\u2028\u2029",
    "private use and unassigned": "\ue000\uf8ff\U000f0000\U0010ffff\u0378" * 8,
    "words beside other letters": "étheñandüfor中the中andжtradeжprice" * 5,
    "mathematical letters": "𝐁𝐔𝐘 𝓼𝓮𝓵𝓵 𝔥𝔬𝔩𝔡 𝙱𝚄𝚈" * 4,
}


def own_prompts() -> Iterator[tuple[str, str]]:
    """Yields the prompts of every tier on a simulated market, and a repair."""
    market = SimulatedMarket(7, ["BTC/USDT", "DOGE/USDT"])
    for symbol, timeframe in (("BTC/USDT", "1m"), ("DOGE/USDT", "1h")):
        params, settings = SignalParams(), SovereignSettings()
        read = market.candles(symbol, timeframe, int(UNTIL.timestamp() * 1000), candles_to_read(timeframe, 500, params))
        candles, at = read.tail(500), {"as_of": iso_utc(read.last_close_time_ms)}
        context = {
            "symbol": symbol,
            **at,
            "market_time": at["as_of"],
            "candles": {"timeframe": timeframe, "rows": candles.rows()},
            "technical": generate_signal(read, params).to_dict() | at,
            "regime": detect_regime(candles, RegimeParams(), None).to_dict() | at,
        }
        for tier in TIERS if timeframe == "1m" else TIERS[:1]:
            request = build_vote_request(context, "reversal", "m", "reversal", settings, tier)
            yield f"prompt, {tier}, {symbol} {timeframe}", f"{request.system}\n{request.user}"
        again = repair_request(request, "I would BUY, because {broken: 1}", "broken JSON at character 22: Expecting")
        yield f"prompt, the repair's end, {symbol}", again.user.removeprefix(request.user)


def random_texts(seed: int = 1) -> Iterator[tuple[str, str]]:
    """Yields letters, digits and signs in no order at all."""
    chance = random.Random(seed)
    alphabets = {
        "lower case": string.ascii_lowercase,
        "upper case": string.ascii_uppercase,
        "letters": string.ascii_letters,
        "letters and blanks": string.ascii_letters + "     ",
        "letters and digits": string.ascii_letters + string.digits,
        "digits and signs": string.digits + string.punctuation,
        "printable": string.printable,
        "Latin": "".join(map(chr, range(0xA0, 0x250))),
        "any script": "".join(map(chr, [*range(0x370, 0x2000), *range(0x3040, 0x9FFF, 7), *range(0x1F300, 0x1FAFF)])),
    }
    for name, letters in alphabets.items():
        yield f"random {name}", "".join(chance.choices(letters, k=LETTERS))


def texts() -> dict[str, str]:
    """Returns all texts by name."""
    prose = {f"prose, {language}": text for language, text in PROSE.items()}
    return {**dict(own_prompts()), **prose, **HARD, **dict(random_texts())}


if __name__ == "__main__":
    told = {"made by": "python -m bench.token_texts, python -m bench.tokenizers count"}
    rows = [{"name": name, "text": text} for name, text in texts().items()]
    COUNTS.write_text(json.dumps(told | {"texts": rows}, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
