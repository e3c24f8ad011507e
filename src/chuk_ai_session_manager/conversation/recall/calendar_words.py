"""The words with which people name days, in many languages: months, weekdays, "two weeks ago".

All words are in lower case, with the inflected forms that stand beside a date. Each is one token of a text:
phrases are joined first (`JOINED`).
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


MONTHS = (
    """january jan januar jänner janvier enero janeiro gennaio januari января январе styczeń stycznia
    styczniu ocak يناير जनवरी มกราคม""",
    """february feb februar février febrero fevereiro febbraio februari февраля феврале luty lutego
    lutym şubat فبراير फरवरी फ़रवरी กุมภาพันธ์""",
    """march mar märz mars marzo março maart марта марте marts marzec marca marcu mart مارس मार्च มีนาคม""",
    """april apr avril abril aprile апреля апреле kwiecień kwietnia kwietniu nisan أبريل ابريل अप्रैल
    เมษายน""",
    """may mai mayo maio maggio mei maj мая мае maja maju mayıs مايو मई พฤษภาคม""",
    """june jun juni juin junio junho giugno июня июне czerwiec czerwca czerwcu haziran يونيو जून
    มิถุนายน""",
    """july jul juli juillet julio julho luglio июля июле lipiec lipca lipcu temmuz يوليو जुलाई กรกฎาคม""",
    """august aug août agosto augustus augusti августа августе sierpień sierpnia sierpniu ağustos أغسطس
    अगस्त สิงหาคม""",
    """september sept sep septembre septiembre setembro settembre сентября сентябре wrzesień września
    wrześniu eylül سبتمبر सितंबर सितम्बर กันยายน""",
    """october oct oktober octobre octubre outubro ottobre октября октябре październik października
    październiku ekim أكتوبر अक्टूबर अक्तूबर ตุลาคม""",
    """november nov novembre noviembre novembro ноября ноябре listopad listopada listopadzie kasım
    نوفمبر नवंबर नवम्बर พฤศจิกายน""",
    """december dec dezember décembre diciembre dezembro dicembre декабря декабре grudzień grudnia
    grudniu aralık ديسمبر दिसंबर दिसम्बर ธันวาคม""",
)
"""January first. In Chinese, Japanese and Korean, months are numbers."""

DOUBTFUL_MONTHS = _set("""may march mar jan jun jul sep nov dec""")

OTHER_DOUBTFUL_MONTHS = _set("""mars mai mei maj maja marca mart ocak ekim nisan mayo julio juli""")
"""Names of months, in English and in other languages, that are other words or names of people too. They count
beside a day or a year, or after one of the words below."""

BEFORE_MONTHS = _set("""in of since during until by early late mid""")

BEFORE_OTHER_MONTHS = _set(
    """in im anfang mitte ende seit bis en em a w i на в во с до début fin desde hasta"""
)

WEEKDAYS = (
    """monday montag lundi lunes segundafeira lunedì maandag понедельник måndag måndags mandag mandags
    poniedziałek pazartesi الاثنين الإثنين सोमवार วันจันทร์ 周一 週一 星期一 礼拜一 月曜日 月曜 월요일""",
    """tuesday dienstag mardi martes terçafeira martedì dinsdag вторник tisdag tisdags tirsdag tirsdags
    wtorek salı الثلاثاء मंगलवार วันอังคาร 周二 週二 星期二 礼拜二 火曜日 火曜 화요일""",
    """wednesday mittwoch mercredi miércoles quartafeira mercoledì woensdag среду onsdag onsdags środę
    çarşamba الأربعاء الاربعاء बुधवार วันพุธ 周三 週三 星期三 礼拜三 水曜日 水曜 수요일""",
    """thursday donnerstag jeudi jueves quintafeira giovedì donderdag четверг torsdag torsdags czwartek
    perşembe الخميس गुरुवार วันพฤหัสบดี วันพฤหัส 周四 週四 星期四 礼拜四 木曜日 木曜 목요일""",
    """friday freitag vendredi viernes sextafeira venerdì vrijdag пятницу fredag fredags piątek cuma
    الجمعة शुक्रवार วันศุกร์ 周五 週五 星期五 礼拜五 金曜日 金曜 금요일""",
    """saturday samstag sonnabend samedi sábado sabato zaterdag субботу lördag lördags lørdag lørdags
    sobotę cumartesi السبت शनिवार วันเสาร์ 周六 週六 星期六 礼拜六 土曜日 土曜 토요일""",
    """sunday sonntag dimanche domingo domenica zondag воскресенье söndag söndags søndag søndags
    niedzielę pazar الأحد रविवार วันอาทิตย์ 周日 周天 週日 星期日 星期天 礼拜天 礼拜日 日曜日 日曜
    일요일""",
)
"""Monday first."""

ON_WEEKDAY = _set("""on this am diesen le el na no il op в во på i w we bu يوم""")

AFTER_WEEKDAY = _set("""को günü""")
"""The words before and after a weekday that is meant as a day; others may be a habit ("my Monday class")."""

OF_LAST_WEEK = _set("""上 上个 上個""")
"""Before a weekday, these words mean the weekday of the calendar week before."""

HABIT = _set("""每 毎 毎週 매 매주""")
"""Before a weekday, these words mean a habit ("every Monday"), and no day."""

DAYS_AGO = {
    0: """today tonight heute aujourdhui hoy hoje oggi vandaag сегодня idag dzisiaj dziś bugün اليوم आज
    今天 今日 きょう วันนี้ 오늘""",
    1: """yesterday gestern hier ayer ontem ieri gisteren вчера igår wczoraj dün أمس امس بالأمس البارحة
    कल 昨天 昨日 きのう เมื่อวานนี้ เมื่อวาน 어제""",
    2: """vorgestern avanthier anteayer anteontem eergisteren позавчера förrgår przedwczoraj परसों 前天
    一昨日 おととい เมื่อวานซืน 그저께 그제""",
}
"""Words for a day, by how many days ago it was."""

UNITS = {
    "day": """day days tag tage tagen jour jours día días dia dias giorno giorni dag dagen dagar dage
    dager день дня дней dzień dni dnia gün يوم أيام ايام दिन दिनों 天 日 วัน 일""",
    "week": """week weeks woche wochen semaine semaines semana semanas settimana settimane weken vecka
    veckan veckor uge uger uke uker неделя неделю недели недель неделе tydzień tygodnie tygodni tygodniu
    hafta أسبوع اسبوع أسابيع الأسبوع الاسبوع हफ्ते हफ़्ते हफ्ता सप्ताह 个星期 星期 周 週間 週 สัปดาห์ อาทิตย์
    주일 주""",
    "month": """month months monat monate monaten mois mes meses mês mese mesi maand maanden månad
    månaden månader måned måneder месяц месяца месяцев месяце miesiąc miesiące miesięcy miesiącu ay شهر
    أشهر شهور الشهر महीने महीना माह 个月 個月 か月 ヶ月 カ月 月 เดือน 개월 달""",
    "year": """year years jahr jahre jahren an ans année années año años ano anos anno anni jaar jaren
    år året год года лет году rok roku lata lat yıl sene سنة سنوات عام أعوام العام السنة साल वर्ष 年 ปี
    년""",
}

TWO_UNITS = {
    "fortnight": "week",
    "fortnights": "week",
    "يومين": "day",
    "أسبوعين": "week",
    "اسبوعين": "week",
    "شهرين": "month",
    "سنتين": "year",
    "عامين": "year",
}
"""Words for two of a unit."""

NUMBERS = {
    1: """a an one ein eine einem einer einen un une una um uma uno een en ett et jeden jedną один одну
    одна bir एक 一 หนึ่ง 한""",
    2: """two couple zwei deux dos dois duas due twee två to dwa dwie два две iki दो 两 二 兩 สอง 두""",
    3: """three few drei trois tres três tre drie trzy три üç तीन ثلاثة ثلاث 三 几 สาม 세""",
    4: """four vier quatre cuatro quatro quattro fyra fire cztery четыре dört चार أربعة أربع 四 สี่ 네""",
    5: """five fünf cinq cinco cinque vijf fem pięć пять beş पाँच पांच خمسة خمس 五 ห้า 다섯""",
    6: """six sechs seis sei zes sex seks sześć шесть altı छह ستة ست 六 หก 여섯""",
    7: """seven sieben sept siete sete sette zeven sju syv siedem семь yedi सात سبعة سبع 七 เจ็ด 일곱""",
    8: """eight acht huit ocho oito otto åtta otte åtte osiem восемь sekiz आठ ثمانية ثماني 八 แปด 여덟""",
    9: """nine neun neuf nueve nove negen nio ni dziewięć девять dokuz नौ تسعة تسع 九 เก้า 아홉""",
    10: """ten zehn dix diez dez dieci tien tio ti dziesięć десять on दस عشرة عشر 十 สิบ 열""",
}

VAGUE = _set("""few couple 几""")
"""Numbers that may mean some more or fewer."""

BEFORE_AGO = _set("""vor ilya hace há faz قبل منذ""")

AFTER_AGO = _set(
    """ago back beforenow geleden fa назад temu önce पहले sedan siden atrás 前 之前 以前 전 ก่อน ที่แล้ว"""
)
"""The words around a number and a unit that make them a time before now."""

AFTER_AGO_OF_ONE = _set("""назад temu""")
"""After a unit without a number, these words mean one unit before now ("tydzień temu")."""

LAST = _set(
    """last past previous letzte letzten letzter letztes letztem vorige vorigen voriges vergangene
    vergangenen vergangenes vorig afgelopen прошлой прошлую прошлый прошлом прошлая zeszłym zeszły
    ubiegłym förra forrige sidste geçen पिछले पिछली 上个 上個 上 先 지난"""
)

AFTER_LAST = _set(
    """dernier dernière passé passée pasado pasada passado passada scorso scorsa الماضي الماضية ที่แล้ว
    ที่ผ่านมา"""
)

THIS = _set(
    """this diese diesen dieser dieses diesem cette ce cet esta este questa questo deze dit denna denne
    dette этой эту этом этот tym bu इस 这个 這個 这 這 本 今 이번 هذا هذه"""
)

AFTER_THIS = _set("""นี้""")
"""The words before and after a unit: "last week", "semana pasada", "本周"."""

YEARS = {"去年": 1, "昨年": 1, "작년": 1, "지난해": 1, "前年": 2, "今年": 0, "올해": 0}
"""Words for a year, and how many years ago it was."""

JOINED = {
    "-feira": "feira",
    "aujourd'hui": "aujourdhui",
    "avant-hier": "avanthier",
    "i går": "igår",
    "i dag": "idag",
    "il y a": "ilya",
    "before now": "beforenow",
    "couple of": "couple",
    "a couple": "couple",
    "a few": "few",
    "the day before yesterday": "vorgestern",
    "i forgårs": "vorgestern",
    "evvelsi gün": "vorgestern",
    "أول أمس": "vorgestern",
    "先週の": "先週",
    "上周的": "上周",
    "지난 주": "지난주",
    "this morning": "today",
    "this afternoon": "today",
    "this evening": "today",
}
"""Phrases, and the tokens that stand for them here."""
