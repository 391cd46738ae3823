#!/usr/bin/env python3
"""Write a small German-English parallel corpus from a grammar of our own, for `make demo`: no data, no network.

    make_demo_corpus.py OUT [--seed N] [--train N] [--valid N] [--test N]

writes OUT/{train,valid,test}.{de,en}: raw, cased, untokenised text, one sentence a line. No sentence occurs twice on
either side, so the splits share none. The grammar has what makes German hard: gender, case and adjective endings,
verb-second and verb-final order, separable verbs, compounds, numbers written out. The English follows from the German,
but for a few words and adverb positions with two equally good translations. The lexicon is large for the corpus: the
test set asks for new compounds, numbers and combinations of words that training showed a few times.
"""

import argparse
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

SPLITS = {"train": 1500, "valid": 300, "test": 500}  # default sizes
MOST_SENTENCES = 200_000  # the grammar has more, but new ones take ever more tries to find
MOST_WORDS = 8  # in a German sentence
SKEW = 2.0  # how much more frequent the first words of a table are than the last; 1: not at all
MOST_TRIES = 200  # in a row without a new sentence

Pair = tuple[str, str]  # German, English
NOM, ACC, DAT, GEN = range(4)

# ---------------------------------------------------------------------------------------------------------------------
# Lexicon. Entries are separated by commas; English after "~" is a second, equally good translation.
# Nouns: gender (m, f, n; w: masculine of the weak declension), singular, plural, English[/irregular plural].

NOUNS = {
    "family": """m Bruder Brüder brother, f Schwester Schwestern sister, m Onkel Onkel uncle, f Tante Tanten aunt,
        w Neffe Neffen nephew, f Nichte Nichten niece, w Nachbar Nachbarn neighbour,
        f Nachbarin Nachbarinnen neighbour, m Freund Freunde friend, f Freundin Freundinnen friend,
        m Gast Gäste guest, m Cousin Cousins cousin, f Cousine Cousinen cousin, m Sohn Söhne son,
        f Tochter Töchter daughter, w Kollege Kollegen colleague, f Kollegin Kolleginnen colleague,
        n Kind Kinder child/children""",
    "pupils": """m Lehrer Lehrer teacher, f Lehrerin Lehrerinnen teacher, w Student Studenten student,
        f Studentin Studentinnen student, m Schüler Schüler pupil, f Schülerin Schülerinnen pupil,
        m Professor Professoren professor, f Professorin Professorinnen professor""",
    "staff": """m Arzt Ärzte doctor, f Ärztin Ärztinnen doctor, m Koch Köche cook, f Köchin Köchinnen cook,
        m Gärtner Gärtner gardener, f Gärtnerin Gärtnerinnen gardener, w Fotograf Fotografen photographer,
        f Fotografin Fotografinnen photographer, m Direktor Direktoren director, f Direktorin Direktorinnen director,
        m Maler Maler painter, f Malerin Malerinnen painter, w Polizist Polizisten police officer,
        f Polizistin Polizistinnen police officer, m Bäcker Bäcker baker, f Bäckerin Bäckerinnen baker,
        m Musiker Musiker musician, f Musikerin Musikerinnen musician, m Tischler Tischler carpenter,
        f Tischlerin Tischlerinnen carpenter, w Journalist Journalisten journalist,
        f Journalistin Journalistinnen journalist""",
    "animals": """m Hund Hunde dog, f Katze Katzen cat, n Pferd Pferde horse, m Vogel Vögel bird, w Hase Hasen hare,
        f Kuh Kühe cow, n Schaf Schafe sheep/sheep, f Ente Enten duck, w Affe Affen monkey, w Bär Bären bear,
        f Ziege Ziegen goat, m Esel Esel donkey, m Igel Igel hedgehog, f Maus Mäuse mouse/mice, n Huhn Hühner hen,
        m Fuchs Füchse fox, f Gans Gänse goose/geese, w Elefant Elefanten elephant""",
    "furniture": """m Tisch Tische table, m Stuhl Stühle chair, m Schrank Schränke cupboard, f Lampe Lampen lamp,
        n Regal Regale shelf/shelves, m Sessel Sessel armchair, f Bank Bänke bench, n Bett Betten bed,
        m Spiegel Spiegel mirror, f Kommode Kommoden dresser, f Tür Türen door, n Fenster Fenster window,
        m Hocker Hocker stool, f Leiter Leitern ladder, m Zaun Zäune fence, f Truhe Truhen chest""",
    "clothes": """m Mantel Mäntel coat, f Jacke Jacken jacket, n Hemd Hemden shirt, n Kleid Kleider dress,
        m Rock Röcke skirt, m Schuh Schuhe shoe, m Stiefel Stiefel boot, f Mütze Mützen cap, m Hut Hüte hat,
        m Handschuh Handschuhe glove, f Weste Westen waistcoat, m Schal Schals scarf/scarves, f Bluse Blusen blouse,
        m Anzug Anzüge suit, m Gürtel Gürtel belt, f Socke Socken sock""",
    "food": """m Kuchen Kuchen cake, f Suppe Suppen soup, m Salat Salate salad, n Brötchen Brötchen roll,
        f Torte Torten tart, f Soße Soßen sauce, m Auflauf Aufläufe casserole, m Keks Kekse biscuit,
        f Pastete Pasteten pie, m Pudding Puddings pudding, m Knödel Knödel dumpling, f Pizza Pizzas pizza""",
    "texts": """n Buch Bücher book, n Heft Hefte notebook, f Zeitung Zeitungen newspaper, m Brief Briefe letter,
        f Zeitschrift Zeitschriften magazine, m Kalender Kalender calendar, n Lexikon Lexika encyclopaedia,
        m Bericht Berichte report, f Liste Listen list, m Katalog Kataloge catalogue, n Plakat Plakate poster,
        m Vertrag Verträge contract, f Geschichte Geschichten story, f Landkarte Landkarten map""",
    "devices": """n Auto Autos car, n Fahrrad Fahrräder bicycle, f Kamera Kameras camera, m Drucker Drucker printer,
        n Radio Radios radio, n Boot Boote boat, m Computer Computer computer, m Aufzug Aufzüge lift,
        f Uhr Uhren clock, m Staubsauger Staubsauger vacuum cleaner, f Heizung Heizungen heater,
        n Flugzeug Flugzeuge plane, m Wecker Wecker alarm clock, m Traktor Traktoren tractor,
        f Waschmaschine Waschmaschinen washing machine, m Fernseher Fernseher television""",
    "items": """m Koffer Koffer suitcase, f Tasche Taschen bag, m Schlüssel Schlüssel key,
        n Messer Messer knife/knives, m Teller Teller plate, f Flasche Flaschen bottle, f Kiste Kisten box,
        m Korb Körbe basket, n Bild Bilder picture, f Decke Decken blanket, n Kissen Kissen cushion,
        f Kerze Kerzen candle, m Ball Bälle ball, f Tasse Tassen cup, m Schirm Schirme umbrella,
        n Geschenk Geschenke present, n Paket Pakete parcel, f Schüssel Schüsseln bowl,
        m Rucksack Rucksäcke rucksack, m Löffel Löffel spoon""",
    "places": """m Garten Gärten garden, n Haus Häuser house, f Schule Schulen school, n Museum Museen museum,
        m Laden Läden shop~store, m Park Parks park, n Büro Büros office, f Kirche Kirchen church,
        f Bibliothek Bibliotheken library, m Bahnhof Bahnhöfe station, n Theater Theater theatre,
        n Hotel Hotels hotel, n Restaurant Restaurants restaurant, f Halle Hallen hall, f Küche Küchen kitchen,
        m Turm Türme tower, f Fabrik Fabriken factory, f Werkstatt Werkstätten workshop, f Wohnung Wohnungen flat,
        n Café Cafés café, n Stadion Stadien stadium, f Apotheke Apotheken pharmacy, f Bäckerei Bäckereien bakery,
        n Krankenhaus Krankenhäuser hospital""",
    "events": """f Prüfung Prüfungen exam, f Reise Reisen trip, n Konzert Konzerte concert,
        f Hochzeit Hochzeiten wedding, f Sitzung Sitzungen meeting, m Kurs Kurse course, f Feier Feiern celebration,
        m Ausflug Ausflüge excursion, n Spiel Spiele game, m Wettbewerb Wettbewerbe competition,
        f Ausstellung Ausstellungen exhibition, n Fest Feste festival""",
}
PEOPLE = "family pupils staff"
GOODS = "furniture clothes texts devices items"

# First parts of compounds, for the nouns of a class.
MODIFIERS = {
    "pupils": """Musik music, Kunst art, Sport sports, Deutsch German, Physik physics, Mathematik maths, Tanz dance,
        Geschichts history""",
    "staff": "Hotel hotel, Schul school, Stadt city, Dorf village, Theater theatre, Universitäts university, Hof court",
    "animals": "Wald forest, Haus domestic, Zirkus circus, Zoo zoo",
    "furniture": """Küchen kitchen, Garten garden, Büro office, Holz wooden, Schul school, Hotel hotel, Metall metal,
        Kinder children's, Wohnzimmer living room, Schlafzimmer bedroom, Keller cellar, Theater theatre""",
    "clothes": """Winter winter, Sommer summer, Leder leather, Regen rain, Sport sports, Kinder children's,
        Arbeits work, Woll woollen, Damen women's, Herren men's, Seiden silk, Baumwoll cotton, Herbst autumn""",
    "food": """Apfel apple, Kirsch cherry, Erdbeer strawberry, Tomaten tomato, Kartoffel potato, Orangen orange,
        Käse cheese, Zitronen lemon, Nuss nut, Pilz mushroom, Kürbis pumpkin, Schokoladen chocolate, Fisch fish,
        Zwiebel onion""",
    "texts": """Schul school, Reise travel, Kinder children's, Sport sports, Wochen weekly, Kunst art, Musik music,
        Firmen company, Garten garden, Technik technology, Mode fashion, Hotel hotel""",
    "devices": "Spielzeug toy, Luxus luxury, Büro office, Hotel hotel, Schul school, Familien family",
    "items": """Reise travel, Leder leather, Plastik plastic, Papier paper, Garten garden, Küchen kitchen,
        Weihnachts Christmas, Geburtstags birthday, Metall metal, Silber silver, Sport sports""",
    "places": """Stadt city, Dorf village, Kunst art, Musik music, Berg mountain, Hafen harbour, Wald forest,
        Insel island, Universitäts university, Kinder children's, Schloss castle""",
    "events": """Musik music, Sport sports, Kunst art, Sommer summer, Winter winter, Schul school, Dorf village,
        Familien family, Herbst autumn""",
}

# Adjectives: German[/comparative] English; "!" marks those that are not compared. "any" goes with all of them.
ADJECTIVES = {
    "any": "alt/älter old, neu new, groß/größer big~large, klein small, schön beautiful~lovely, seltsam strange",
    "people": """jung/jünger young, freundlich friendly, nett nice, müde tired, klug/klüger clever,
        stark/stärker strong, glücklich happy, traurig sad, höflich polite, faul lazy, geduldig patient,
        ehrlich honest, neugierig curious, reich rich, arm/ärmer poor, mutig brave, schüchtern shy, ernst serious,
        nervös nervous, berühmt famous""",
    "animals": """wild wild, zahm tame, schnell fast, langsam slow, hungrig hungry, dick fat, jung/jünger young,
        krank/kränker sick, gefährlich dangerous""",
    "goods": """rot! red, blau! blue, grün! green, gelb! yellow, schwarz! black, weiß! white, braun! brown,
        grau! grey, schwer heavy, leicht light, schmutzig dirty, sauber clean, modern modern, praktisch practical,
        nützlich useful, dunkel dark, teuer expensive, billig cheap, wertvoll valuable, hässlich ugly""",
    "food": """frisch fresh, süß sweet, kalt/kälter cold, warm/wärmer warm, heiß hot, lecker tasty, salzig salty,
        gesund/gesünder healthy, scharf/schärfer spicy, billig cheap, teuer expensive""",
    "texts": """spannend exciting, langweilig boring, interessant interesting, lustig funny, wichtig important,
        dick thick, dünn thin, lang/länger long, kurz/kürzer short, schwierig difficult, nützlich useful""",
    "places": """ruhig quiet, laut noisy, leer empty, hoch/höher tall, modern modern, sicher safe, gemütlich cosy,
        sauber clean, schmutzig dirty, dunkel dark, beliebt popular, berühmt famous""",
    "events": """lang/länger long, kurz/kürzer short, spannend exciting, langweilig boring, wichtig important,
        lustig funny, gefährlich dangerous, schwierig difficult, teuer expensive""",
}
KIND = dict.fromkeys(PEOPLE.split(), "people") | dict.fromkeys(GOODS.split(), "goods") | {"texts": "texts"}

# Verbs: [*]prefix|infinitive [er-stem preterite participle] = English/past/participle; "*" takes "sein", "-" no change.
TRANSITIVE = {
    f"{GOODS} food": """kaufen = buy/bought, verkaufen = sell/sold, suchen = look for,
        finden - fand gefunden = find/found, verlieren - verlor verloren = lose/lost,
        mit|bringen - brachte gebracht = bring/brought, zurück|bringen - brachte gebracht = bring/brought back,
        bestellen = order, verstecken = hide/hid/hidden, ein|packen = pack, aus|packen = unpack,
        weg|werfen wirf warf geworfen = throw/threw/thrown away, beschreiben - beschrieb beschrieben = describe,
        zeichnen = draw/drew/drawn, bewundern = admire, brauchen = need, ab|holen = pick up~collect,
        vergessen vergiss vergaß vergessen = forget/forgot/forgotten, bezahlen = pay/paid for""",
    "food": """essen iss aß gegessen = eat/ate/eaten, probieren = taste, servieren = serve,
        schneiden - schnitt geschnitten = cut/cut, auf|essen iss aß gegessen = eat/ate/eaten up,
        auf|wärmen = warm up""",
    "clothes": """tragen träg trug getragen = wear/wore/worn, an|probieren = try on,
        waschen wäsch wusch gewaschen = wash, an|ziehen - zog gezogen = put/put on,
        aus|ziehen - zog gezogen = take/took/taken off, nähen = sew/sewed/sewn, bügeln = iron,
        um|tauschen = exchange""",
    "texts": """lesen lies las gelesen = read/read, schreiben - schrieb geschrieben = write/wrote/written,
        übersetzen = translate, drucken = print, kopieren = copy,
        unterschreiben - unterschrieb unterschrieben = sign, veröffentlichen = publish,
        verbrennen - verbrannte verbrannt = burn, aus|leihen - lieh geliehen = borrow,
        durch|lesen lies las gelesen = read/read through""",
    "devices": """reparieren = repair, ein|schalten = switch on, aus|schalten = switch off, putzen = clean,
        mieten = rent, testen = test, verbessern = improve, bauen = build/built, zerstören = destroy,
        benutzen = use""",
    "furniture": """reparieren = repair, bauen = build/built, streichen - strich gestrichen = paint,
        auf|bauen = assemble, ab|bauen = dismantle, putzen = clean, polieren = polish,
        tragen träg trug getragen = carry, verschieben - verschob verschoben = move""",
    "items": """tragen träg trug getragen = carry, öffnen = open, auf|machen = open, zu|machen = close~shut,
        stehlen stiehl stahl gestohlen = steal/stole/stolen, auf|heben - hob gehoben = pick up,
        hin|stellen = put/put down""",
    "places": """besuchen = visit, verlassen verläss verließ verlassen = leave/left,
        betreten betritt betrat betreten = enter, schließen - schloss geschlossen = close~shut, öffnen = open,
        auf|räumen = tidy up, bauen = build/built, renovieren = renovate, streichen - strich gestrichen = paint,
        ab|schließen - schloss geschlossen = lock, kennen - kannte gekannt = know/knew/known,
        fotografieren = photograph, ab|reißen - riss gerissen = pull down, ein|richten = furnish""",
    PEOPLE: """besuchen = visit, treffen triff traf getroffen = meet/met, an|rufen - rief gerufen = call,
        ein|laden läd lud geladen = invite, begrüßen = greet, fragen = ask,
        kennen - kannte gekannt = know/knew/known, sehen sieh sah gesehen = see/saw/seen, hören = hear/heard,
        lieben = love, kritisieren = criticise, loben = praise, wecken = wake/woke/woken, ab|holen = collect,
        aus|lachen = laugh at, unterstützen = support, beobachten = watch,
        verstehen - verstand verstanden = understand/understood, umarmen = hug, an|sehen sieh sah gesehen = look at,
        warnen = warn, heiraten = marry, überraschen = surprise, ein|stellen = hire, vermissen = miss,
        entlassen entläss entließ entlassen = dismiss, an|lügen - log gelogen = lie to""",
    "animals": """füttern = feed/fed, streicheln = stroke, fangen fäng fing gefangen = catch/caught,
        beobachten = watch, retten = rescue, suchen = look for, ein|fangen fäng fing gefangen = catch/caught,
        zeichnen = draw/drew/drawn, sehen sieh sah gesehen = see/saw/seen, frei|lassen läss ließ gelassen = release,
        kaufen = buy/bought""",
    "events": """planen = plan, organisieren = organise, vor|bereiten = prepare, ab|sagen = cancel, verpassen = miss,
        verschieben - verschob verschoben = postpone, besuchen = attend,
        beschreiben - beschrieb beschrieben = describe, genießen - genoss genossen = enjoy,
        vergessen vergiss vergaß vergessen = forget/forgot/forgotten""",
}
DATIVE = """helfen hilf half geholfen = help, danken = thank, *folgen = follow, antworten = answer,
    gratulieren = congratulate, vertrauen = trust, zu|hören = listen to, zu|winken = wave to,
    *nach|laufen läuf lief gelaufen = run/ran/run after,
    widersprechen widersprich widersprach widersprochen = contradict,
    verzeihen - verzieh verziehen = forgive/forgave/forgiven, drohen = threaten, zu|lächeln = smile at,
    glauben = believe"""
DITRANSITIVE = """geben gib gab gegeben = give/gave/given, zeigen = show/showed/shown, schicken = send/sent,
    leihen - lieh geliehen = lend/lent, bringen - brachte gebracht = bring/brought, verkaufen = sell/sold,
    schenken = give/gave/given, an|bieten - bot geboten = offer, mit|bringen - brachte gebracht = bring/brought,
    kaufen = buy/bought, reichen = hand, versprechen versprich versprach versprochen = promise"""
PREPOSITIONAL = {  # preposition, case, verbs
    f"{PEOPLE} animals": """auf ACC warten = wait for, auf ACC auf|passen = look after, nach DAT suchen = search for,
        mit DAT spielen = play with, an ACC denken - dachte gedacht = think/thought of,
        mit DAT sprechen sprich sprach gesprochen = talk to~speak/spoke/spoken to, von DAT träumen = dream of,
        über ACC lachen = laugh about""",
    f"events {GOODS}": """von DAT träumen = dream of, über ACC nach|denken - dachte gedacht = think/thought about,
        auf ACC warten = wait for, nach DAT fragen = ask about, von DAT erzählen = talk about""",
    PEOPLE: "mit DAT streiten - stritt gestritten = argue with, mit DAT tanzen = dance with, für ACC kochen = cook for",
    "events": """an DAT teil|nehmen nimm nahm genommen = take/took/taken part in,
        mit DAT an|fangen fäng fing gefangen = begin/began/begun with""",
}
MOTION = """*fahren fähr fuhr gefahren = drive/drove/driven, *gehen - ging gegangen = go/went/gone,
    *laufen läuf lief gelaufen = run/ran/run, *reisen = travel, *zurück|kehren = return,
    *rennen - rannte gerannt = run/ran/run, *wandern = hike,
    *zurück|fahren fähr fuhr gefahren = drive/drove/driven back"""
INTRANSITIVE = """schlafen schläf schlief geschlafen = sleep/slept, arbeiten = work, lachen = laugh, weinen = cry,
    singen - sang gesungen = sing/sang/sung, tanzen = dance, *schwimmen - schwamm geschwommen = swim/swam/swum,
    *auf|stehen - stand gestanden = get/got up, *ein|schlafen schläf schlief geschlafen = fall/fell/fallen asleep,
    *an|kommen - kam gekommen = arrive, *auf|wachen = wake/woke/woken up, ein|kaufen = go/went/gone shopping,
    fern|sehen sieh sah gesehen = watch television, auf|räumen = tidy up,
    nach|denken - dachte gedacht = think/thought, kochen = cook, frühstücken = have/had breakfast,
    *zurück|kommen - kam gekommen = come/came/come back, weiter|arbeiten = keep/kept working,
    mit|singen - sang gesungen = sing/sang/sung along, *aus|gehen - ging gegangen = go/went/gone out,
    *ab|reisen = depart, zu|schauen = watch, *mit|kommen - kam gekommen = come/came/come along, rauchen = smoke,
    warten = wait, *um|ziehen - zog gezogen = move house, *weg|laufen läuf lief gelaufen = run/ran/run away"""
TRYING = """versuchen = try, planen = plan, hoffen = hope,
    vergessen vergiss vergaß vergessen = forget/forgot/forgotten, beschließen - beschloss beschlossen = decide,
    versprechen versprich versprach versprochen = promise, an|fangen fäng fing gefangen = begin/began/begun~start"""
SAYING = """sagen = say/said, glauben = think/thought~believe, hoffen = hope, behaupten = claim,
    schreiben - schrieb geschrieben = write/wrote/written, erzählen = say/said, vermuten = suspect,
    bezweifeln = doubt"""
STATIVE = "need know love trust believe hope see hear forget miss understand doubt suspect claim say promise".split()
INSEPARABLE = ("be", "ver", "er", "ent", "zer", "ge", "über", "unter", "umarm", "wider")
MODALS = {  # English: German singular, stem of the plural, preterite; English past ("" where the past is not used)
    "can": ("kann", "könn", "konnte", "could"),
    "must": ("muss", "müss", "", ""),
    "have to": ("muss", "müss", "musste", "had to"),
    "want to": ("will", "woll", "wollte", "wanted to"),
    "should": ("soll", "soll", "", ""),
    "be allowed to": ("darf", "dürf", "durfte", "be allowed to"),
    "would like to": ("möchte", "möcht", "", ""),
}
AUXILIARIES = "can could must should would".split()

# Personal pronouns by person and number: nominative, accusative, dative; English subject, object; possessives.
PRONOUNS = {
    "1s": "ich mich mir I me mein my",
    "2s": "du dich dir you you dein your",
    "3m": "er ihn ihm he him sein his",
    "3f": "sie sie ihr she her ihr her",
    "1p": "wir uns uns we us unser our",
    "2p": "ihr euch euch you you euer your",
    "3p": "sie sie ihnen they them ihr their",
}
ARTICLE = {"m": "der den dem des", "f": "die die der der", "n": "das das dem des", "p": "die die den der"}
STRONG = {"m": "er en em es", "f": "e e er er", "n": "es es em es", "p": "e e en er"}  # dieser; bare plural adjectives
MIXED = {"m": "er en en en", "f": "e e en en", "n": "es es en en", "p": "en en en en"}  # adjectives after ein, mein
WEAK = {"m": "e en en en", "f": "e e en en", "n": "e e en en", "p": "en en en en"}  # adjectives after der, dieser
EIN = "ein kein mein dein sein ihr unser euer".split()  # without an ending in three places
# Determiners by stem: English; repeated to make them more frequent.
SINGULAR = "der the, der the, der the, ein a, ein a, ein a, dies this, jed every, mein my, unser our"
PLURAL = "der the, der the, dies these, all all the, viel many, einig some, mehrer several, mein my, unser our"
DEFINITE = "der dies mein dein sein ihr unser euer".split()
KEIN = {False: "kein a", True: "kein any"}
DEGREES = "sehr very, ziemlich rather~quite"

SEIN, WAR = "bin bist ist sind seid sind", "war warst war waren wart waren"  # by person, singular and plural
HABEN, WERDEN = "habe hast hat haben habt haben", "werde wirst wird werden werdet werden"
WURDE = "wurde wurdest wurde wurden wurdet wurden"
BE, WERE = "am are is are are are", "was were was were were were"

WOMEN = "Anna Sophie Greta Clara Hanna Johanna Paula Martha Frieda Lena"
MEN = "Lukas Jonas Felix Moritz Emil Anton Oskar Jakob Konrad Paul"
SURNAME_STARTS = "Stein Berg Linden Rosen Eich Neu Hoch Holz Kirch Wald Brun Feld Birken Gold Silber Schwarz Mühl Grün"
SURNAME_ENDS = "mann bach hofer meier bauer berger hausen thal brunner"
CITIES = """Berlin Berlin, Hamburg Hamburg, Köln Cologne, München Munich, Wien Vienna, Leipzig Leipzig,
    Dresden Dresden, Bremen Bremen, Zürich Zurich, Nürnberg Nuremberg, Hannover Hanover, Braunschweig Brunswick,
    Basel Basel, Bern Bern, Genf Geneva, Prag Prague, Warschau Warsaw, Kopenhagen Copenhagen, Mailand Milan,
    Rom Rome, Venedig Venice, Brüssel Brussels, Lissabon Lisbon, Moskau Moscow, Athen Athens, Krakau Krakow,
    Straßburg Strasbourg"""
WEEKDAYS = """Montag Monday, Dienstag Tuesday, Mittwoch Wednesday, Donnerstag Thursday, Freitag Friday,
    Samstag Saturday, Sonntag Sunday"""
DAY_PARTS = "morgen morning, nachmittag afternoon, abend evening"
MONTHS = """Januar January, Februar February, März March, April April, Mai May, Juni June, Juli July, August August,
    September September, Oktober October, November November, Dezember December"""
UNITS = "Minuten minutes, Stunden hours, Tagen days, Wochen weeks, Monaten months, Jahren years"
TIMES = {
    "past": """gestern yesterday, vorgestern the day before yesterday, letzte_Woche last week,
        letzten_Sommer last summer""",
    "future": "morgen tomorrow, übermorgen the day after tomorrow, nächste_Woche next week, bald soon",
    "now": "jetzt now, gerade at the moment",
}
OFTEN = "oft often, immer always, selten rarely~seldom, manchmal sometimes, nie never, meistens usually"
MANNER = """schnell quickly, langsam slowly, vorsichtig carefully, heimlich secretly, allein alone,
    freiwillig voluntarily, ungern reluctantly, stolz proudly, sorgfältig carefully"""
COMMENTS = """leider unfortunately, natürlich of course, zum_Glück luckily, tatsächlich actually~in fact,
    anscheinend apparently"""
PREPOSITIONS = "in in, in in, vor in_front_of, hinter behind, neben next_to~beside"
CONTRACTIONS = {
    "in dem": "im", "an dem": "am", "von dem": "vom", "zu dem": "zum", "zu der": "zur", "in das": "ins", "an das": "ans"
}  # fmt: skip
CONJUNCTIONS = "weil because, weil because, obwohl although~though, während while"
ONES = [
    ("", ""), ("ein", "one"), ("zwei", "two"), ("drei", "three"), ("vier", "four"), ("fünf", "five"), ("sechs", "six"),
    ("sieben", "seven"), ("acht", "eight"), ("neun", "nine"), ("zehn", "ten"), ("elf", "eleven"), ("zwölf", "twelve"),
    ("dreizehn", "thirteen"), ("vierzehn", "fourteen"), ("fünfzehn", "fifteen"), ("sechzehn", "sixteen"),
    ("siebzehn", "seventeen"), ("achtzehn", "eighteen"), ("neunzehn", "nineteen"),
]  # fmt: skip
TENS = [
    ("", ""), ("zehn", "ten"), ("zwanzig", "twenty"), ("dreißig", "thirty"), ("vierzig", "forty"), ("fünfzig", "fifty"),
    ("sechzig", "sixty"), ("siebzig", "seventy"), ("achtzig", "eighty"), ("neunzig", "ninety"),
]  # fmt: skip
GENITIVE_ES = ("arzt", "freund", "kind", "sohn", "gast")
NEEDS_E = "[td]$|([bdfgkpt]|ch)[nm]$"  # stems that take -et: arbeit-, öffn-, zeichn-

# ---------------------------------------------------------------------------------------------------------------------
# Words: the morphology of both languages, with no choice in it.


def entries(table: str) -> list[str]:
    """The comma-separated entries of a table, each with single spaces."""
    return [" ".join(entry.split()) for entry in table.split(",")]


@cache
def pairs(table: str) -> list[Pair]:
    """German ("_" stands for a space) and English of each entry, one pair for each of its translations."""
    split = [entry.split(" ", 1) for entry in entries(table)]
    return [(german.replace("_", " "), choice) for german, english in split for choice in english.split("~")]


def form(table: str, person: int, plural: bool) -> str:
    """The form for a person, from a table of the first to third person singular, then plural."""
    return table.split()[person - 1 + 3 * plural]


@dataclass(frozen=True)
class Noun:
    gender: str  # m, f, n
    weak: bool  # der Student, den Studenten
    singular: str
    plural: str
    english: str
    english_plural: str

    def german(self, case: int, plural: bool) -> str:
        if plural:
            return self.plural + ("n" if case == DAT and self.plural[-1] not in "ns" else "")
        if self.weak and case != NOM:
            return self.plural
        if case == GEN and self.gender != "f":
            return self.singular + ("es" if self.singular.lower().endswith(GENITIVE_ES) else "s")
        return self.singular

    def compound(self, modifier: Pair) -> "Noun":
        """The compound with this noun as its head, which gives it gender and plural."""
        german, english = modifier
        return replace(
            self,
            singular=german + self.singular.lower(),
            plural=german + self.plural.lower(),
            english=f"{english} {self.english}",
            english_plural=f"{english} {self.english_plural}",
        )


@cache
def read_nouns(table: str) -> list[Noun]:
    nouns = []
    for entry in entries(table):
        gender, singular, plural, english = entry.split(" ", 3)
        for choice in english.split("~"):
            one, _, many = choice.partition("/")
            weak = gender == "w"
            nouns.append(Noun("m" if weak else gender, weak, singular, plural, one, many or add_s(one)))
    return nouns


@dataclass(frozen=True)
class Adjective:
    german: str
    comparative: str  # "" where it is not compared
    english: str

    @property
    def stem(self) -> str:
        """What takes the endings: "dunkl" of "dunkel", "teur" of "teuer", "hoh" of "hoch"."""
        return "hoh" if self.german == "hoch" else re.sub("e(?=l$)|(?<=u)e(?=r$)|e$", "", self.german)

    @property
    def english_comparative(self) -> str:
        word = self.english
        if word.endswith("y"):
            return word[:-1] + "ier"
        if len(re.findall("[aeiouy]+", word.removesuffix("e"))) > 1:
            return f"more {word}"
        return double_consonant(word).removesuffix("e") + "er"


@cache
def read_adjectives(table: str) -> list[Adjective]:
    adjectives = []
    for german, english in pairs(table):
        positive, _, comparative = german.partition("/")
        adjective = Adjective(positive.rstrip("!"), comparative, english)
        if not comparative and not german.endswith("!"):
            adjective = replace(adjective, comparative=adjective.stem + "er")
        adjectives.append(adjective)
    return adjectives


def determiner(stem: str, gender: str, case: int) -> str:
    """The determiner before a noun; the plural is the "gender" p."""
    if stem == "der":
        return ARTICLE[gender].split()[case]
    if stem in EIN and (gender, case) in (("m", NOM), ("n", NOM), ("n", ACC)):
        return stem
    return stem.replace("euer", "eur") + STRONG[gender].split()[case]


def adjective_ending(stem: str, gender: str, case: int) -> str:
    """The ending of an adjective after a determiner, or after none or a number ("")."""
    table = WEAK if stem in ("der", "dies", "jed", "all", "welch") else MIXED if stem in EIN else STRONG
    return table[gender].split()[case]


@dataclass(frozen=True)
class Verb:
    prefix: str  # of a separable verb, else ""
    infinitive: str  # without the prefix
    changed: str  # stem of the second and third person singular where it changes, else ""
    preterite: str  # third person singular
    participle: str  # with the prefix
    auxiliary: str  # of the perfect: forms of haben or sein
    english: str  # with all that belongs to it: "look for"
    english_past: str
    english_participle: str

    def german(self, person: int, plural: bool) -> str:
        """The finite form of the present, without the prefix."""
        stem = re.sub("e?n$", "", self.infinitive)
        if plural and person != 2:
            return self.infinitive
        if person == 1:
            return re.sub("el$", "l", stem) + "e"
        own = stem if plural else self.changed or stem
        e = "e" if own == stem and re.search(NEEDS_E, stem) else ""
        if person == 2 and not plural:
            return own + e + ("t" if own[-1] in "sßzx" else "st")
        return own if own != stem and own.endswith("t") else f"{own}{e}t"

    def german_preterite(self, person: int, plural: bool) -> str:
        """The finite form of the preterite, without the prefix."""
        n = "n" if self.preterite.endswith("e") else "en"
        return self.preterite + ["", "st", "", n, "t", n][person - 1 + 3 * plural]

    @property
    def german_infinitive(self) -> str:
        return self.prefix + self.infinitive

    @property
    def german_zu_infinitive(self) -> str:
        return f"{self.prefix}zu{self.infinitive}" if self.prefix else f"zu {self.infinitive}"


@cache
def read_verbs(table: str) -> list[Verb]:
    verbs = []
    for entry in entries(table):
        german, english = entry.split(" = ")
        name, *forms = german.split()
        prefix, _, infinitive = name.lstrip("*").rpartition("|")
        stem = re.sub("e?n$", "", infinitive)
        te = ("e" if re.search(NEEDS_E, stem) else "") + "t"
        ge = "" if infinitive.startswith(INSEPARABLE) or infinitive.endswith("ieren") else "ge"
        changed, preterite, participle = forms or ("-", f"{stem}{te}e", f"{ge}{stem}{te}")
        auxiliary = SEIN if name.startswith("*") else HABEN
        for choice in english.split("~"):
            verb, _, particle = choice.partition(" ")
            base, past, done = (verb.split("/") * 3)[:3] if verb.count("/") == 2 else english_forms(verb)
            tail = f" {particle}" if particle else ""
            verbs.append(
                Verb(
                    prefix,
                    infinitive,
                    "" if changed == "-" else changed,
                    preterite,
                    prefix + participle,
                    auxiliary,
                    base + tail,
                    past + tail,
                    done + tail,
                )
            )
    return verbs


def english_forms(verb: str) -> tuple[str, str, str]:
    """Base, past and participle of "ask" or "buy/bought"."""
    base, _, past = verb.partition("/")
    if not past:
        stem = re.sub("(?<=[^aeiou])y$", "i", double_consonant(base))
        past = stem + ("d" if stem.endswith("e") else "ed")
    return base, past, past


def double_consonant(word: str) -> str:
    """The word as it stands before -ed, -ing and -er: "plan" becomes "plann"."""
    doubled = re.fullmatch("[^aeiou]*[aeiou][bdgklmnprt]", word) or word in ("forget", "begin", "travel", "cancel")
    return word + word[-1] if doubled else word


def add_s(word: str) -> str:
    """The plural of a noun or the third person of a verb."""
    if re.search("(s|x|sh|ch|go|do)$", word):
        return word + "es"
    return re.sub("(?<=[^aeiou])y$", "ie", word) + "s"


def third_person(phrase: str) -> str:
    verb, *rest = phrase.split()
    return " ".join(["has" if verb == "have" else add_s(verb), *rest])


def gerund(phrase: str) -> str:
    verb, *rest = phrase.split()
    if verb == "be":
        stem = verb
    else:
        stem = re.sub("ie$", "y", double_consonant(verb))
        stem = re.sub("(?<=[^e])e$", "", stem)
    return " ".join([stem + "ing", *rest])


def with_article(phrase: str) -> str:
    """The English phrase after "a" or "an"."""
    return ("an " if re.match("(?!uni|use)[aeiou]|hon", phrase) else "a ") + phrase


def number(n: int) -> Pair:
    """A number from 2 to 999 in words."""
    hundreds, rest = divmod(n, 100)
    german, english = "", ""
    if rest:
        tens, ones = divmod(rest, 10)
        if rest < 20:
            german, english = ONES[rest]
        elif not ones:
            german, english = TENS[tens]
        else:
            german = f"{ONES[ones][0]}und{TENS[tens][0]}"
            english = f"{TENS[tens][1]}-{ONES[ones][1]}"
    if hundreds:
        german = f"{ONES[hundreds][0]}hundert{german}"
        english = f"{ONES[hundreds][1]} hundred" + (f" and {english}" if rest else "")
    return german, english


def ordinal(n: int) -> Pair:
    """The ordinal of a day of the month after "am" and "on the"."""
    german, english = number(n)
    german = {1: "erst", 3: "dritt", 7: "siebt", 8: "acht"}.get(n, german + ("t" if n < 20 else "st")) + "en"
    head, dash, last = english.rpartition("-")
    last = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
            "twelve": "twelfth"}.get(last, re.sub("y$", "ie", last) + "th")  # fmt: skip
    return german, head + dash + last


def contract(preposition: str, phrase: str) -> str:
    """Preposition and noun phrase, contracted where German does: "im Garten", "zur Schule"."""
    article, _, rest = phrase.partition(" ")
    short = CONTRACTIONS.get(f"{preposition} {article}")
    return f"{short} {rest}" if short else f"{preposition} {phrase}"


# ---------------------------------------------------------------------------------------------------------------------
# Phrases and clauses: word order and agreement, with no choice in them.


@dataclass(frozen=True)
class Phrase:
    """A noun phrase, a name or a pronoun."""

    german: tuple[str, ...]  # by case; only noun phrases have a genitive
    english: str
    english_object: str
    gender: str  # m, f, n, p (plural)
    key: str = ""  # of the pronoun that can stand for it; "" for things
    definite: bool = True
    negative: bool = False  # kein
    pronoun: bool = False

    @property
    def person(self) -> int:
        return int(self.key[0]) if self.key else 3

    @property
    def plural(self) -> bool:
        return self.gender == "p"


def pronoun(key: str) -> Phrase:
    nominative, accusative, dative, subject, other, _, _ = PRONOUNS[key].split()
    return Phrase((nominative, accusative, dative), subject, other, key[1], key, pronoun=True)


def relative_pronoun(phrase: Phrase, human: bool) -> Phrase:
    """The relative pronoun for a phrase, as a phrase of its own."""
    nominative, accusative, dative, _ = ARTICLE[phrase.gender].split()
    who, whom = ("who", "whom") if human else ("that", "that")
    return Phrase((nominative, accusative, "denen" if phrase.plural else dative), who, whom, phrase.gender, phrase.key)


@dataclass(frozen=True)
class Clause:
    """A verb with all that depends on it; its methods put it in the word orders of both languages."""

    subject: Phrase
    verb: Verb
    tense: str = "present"  # of the German verb: present, perfect, preterite, werden
    aspect: str = "simple"  # of the English verb where the German is in the present: simple, progressive, will
    modal: str = ""  # a key of MODALS
    passive: bool = False
    objects: tuple[tuple[int, Phrase], ...] = ()  # case and phrase, in the order of German
    time: Pair = ("", "")
    often: Pair = ("", "")
    place: Pair = ("", "")
    manner: Pair = ("", "")
    complement: Pair = ("", "")  # prepositional object or direction
    nicht: bool = False

    @property
    def past(self) -> bool:
        return self.tense in ("perfect", "preterite")

    def german_verb(self) -> Pair:
        """The finite verb, and what stands at the end of a main clause."""
        verb, person, plural = self.verb, self.subject.person, self.subject.plural
        if self.modal:
            singular, stem, preterite, _ = MODALS[self.modal]
            if self.past:
                finite = replace(verb, preterite=preterite).german_preterite(person, plural)
            elif plural:
                finite = stem + ("t" if person == 2 else "en")
            else:
                finite = singular + ("" if person != 2 else "t" if singular.endswith("s") else "st")
            return finite, verb.german_infinitive
        if self.passive:
            return form(WURDE if self.past else WERDEN, person, plural), verb.participle
        if self.tense == "perfect":
            return form(verb.auxiliary, person, plural), verb.participle
        if self.tense == "werden":
            return form(WERDEN, person, plural), verb.german_infinitive
        conjugate = verb.german_preterite if self.tense == "preterite" else verb.german
        return conjugate(person, plural), verb.prefix

    def german_middle(self) -> list[str]:
        """What stands between the finite verb (or the subject after it) and the end of the clause."""
        pronouns = [phrase.german[case] for case, phrase in self.objects if phrase.pronoun]
        phrases = [phrase.german[case] for case, phrase in self.objects if not phrase.pronoun]
        adverbs = [self.place[0], self.manner[0], "nicht" * self.nicht, self.complement[0]]
        return [*pronouns, self.time[0], self.often[0], *phrases, *adverbs]

    def main(self, front: str = "") -> str:
        """Verb-second order, the subject first unless something else is in front."""
        finite, end = self.german_verb()
        subject = self.subject.german[NOM]
        return join(front or subject, finite, subject if front else "", *self.german_middle(), end)

    def question(self) -> str:
        finite, end = self.german_verb()
        return join(finite, self.subject.german[NOM], *self.german_middle(), end)

    def final(self, lead: str = "") -> str:
        """Verb-final order after a conjunction or relative pronoun."""
        finite, end = self.german_verb()
        separable = end and end == self.verb.prefix
        verb = end + finite if separable else f"{end} {finite}"
        return join(lead, self.subject.german[NOM], *self.german_middle(), verb)

    def infinitive(self, lead: str = "") -> str:
        """The infinitive clause with "zu", without a subject."""
        return join(lead, *self.german_middle(), self.verb.german_zu_infinitive)

    def english_verb(self) -> Pair:
        """The auxiliary that inverts and takes "not" (or ""), and the rest of the verb."""
        person, plural = self.subject.person, self.subject.plural
        base, past = self.verb.english, self.verb.english_past
        if self.modal:
            base, past = f"{self.modal} {base}", f"{MODALS[self.modal][3]} {base}"
        elif self.passive:
            base = past = f"be {self.verb.english_participle}"
        first, _, rest = (past if self.past else base).partition(" ")
        if first in AUXILIARIES:
            return first, rest
        if not self.past and not self.modal:
            if self.aspect == "will" or self.tense == "werden":
                return "will", base
            if self.aspect == "progressive":
                return form(BE, person, plural), gerund(base)
        if first == "be":
            return form(WERE if self.past else BE, person, plural), rest
        if self.past:
            return "", past
        return "", base if plural or person != 3 else third_person(base)

    def english_tail(self) -> list[str]:
        """What follows the verb."""
        phrases = [phrase.english_object for _, phrase in self.objects]
        return [*phrases, self.complement[1], self.manner[1], self.place[1], self.time[1]]

    def english(self, question: bool = False) -> str:
        """The statement, or the question with the auxiliary before the subject."""
        aux, rest = self.english_verb()
        negative = self.nicht or any(phrase.negative for _, phrase in self.objects)
        if not aux and (question or negative):
            third = self.subject.person == 3 and not self.subject.plural
            aux = "did" if self.past else "does" if third else "do"
            rest = join(self.modal, self.verb.english)
        start = [aux, self.subject.english] if question else [self.subject.english, aux]
        text = join(*start, "not" * negative, self.often[1], rest, *self.english_tail())
        return re.sub(r"\bcan not\b", "cannot", text)

    def english_infinitive(self, form_of: Callable[[str], str] = str) -> str:
        """The clause without subject, its verb bare or as a gerund."""
        return join(form_of(self.verb.english), *self.english_tail())


def join(*words: str) -> str:
    return " ".join(" ".join(words).split())


def finish(pair: Pair, mark: str = ".") -> Pair:
    """A pair of sentences: upper case at the start, the mark at the end, no comma before a mark."""
    german, english = (re.sub(r",(?=[,.?!])", "", text + mark) for text in pair)
    return german[0].upper() + german[1:], english[0].upper() + english[1:]


# ---------------------------------------------------------------------------------------------------------------------
# The grammar: where things are chosen.

T = TypeVar("T")


class Grammar:
    """Draws sentence pairs at random."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.kinds: dict[Callable[[], Pair], float] = {
            self.statement: 8,
            self.fronted_object: 3,
            self.two_clauses: 4,
            self.conditional: 2,
            self.reported: 3,
            self.relative_subject: 3,
            self.relative_object: 3,
            self.infinitive: 3,
            self.purpose: 2,
            self.yes_no_question: 3,
            self.wh_question: 3,
            self.imperative: 1.5,
            self.passive: 3,
            self.comparison: 2,
            self.there_is: 2,
            self.price: 1,
            self.age: 0.5,
        }

    def sentence(self) -> Pair:
        """A German sentence of no more than MOST_WORDS words and its English translation."""
        while True:
            german, english = self.rng.choices(list(self.kinds), list(self.kinds.values()))[0]()
            if len(german.split()) <= MOST_WORDS:
                return german, english

    # Words

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        return self.rng.choice(items)

    def common(self, items: Sequence[T]) -> T:
        """One of the items, the first more often than the last, as words are frequent or rare."""
        return items[int(len(items) * self.rng.random() ** SKEW)]

    def pair(self, table: str) -> Pair:
        return self.common(pairs(table))

    def verb(self, table: str) -> Verb:
        return self.common(read_verbs(table))

    def number(self, *ranges: tuple[int, int]) -> Pair:
        n = self.rng.randint(*self.pick(ranges or [(2, 12), (13, 99)]))
        return number(n + 1 if n % 100 == 1 else n)

    def noun(self, kinds: str) -> tuple[str, Noun]:
        """A noun of one of the classes, perhaps a compound, and its class."""
        kind = self.pick(kinds.split())
        noun = self.common(read_nouns(NOUNS[kind]))
        compound = kind in MODIFIERS and self.chance(0.4)
        return kind, noun.compound(self.pair(MODIFIERS[kind])) if compound else noun

    def adjective(self, kind: str) -> Adjective:
        return self.common(read_adjectives(f"{ADJECTIVES['any']}, {ADJECTIVES[KIND.get(kind, kind)]}"))

    def time(self, tense: str) -> Pair:
        """An adverbial of time for "past", "future" or "now"."""
        kind = "fixed" if tense == "now" else self.pick(["fixed", "span", "date", "day", "clock"])
        if kind == "fixed":
            return self.pair(TIMES[tense])
        if kind == "span":
            (n, count), (unit, units) = self.number((2, 40)), self.pair(UNITS)
            if tense == "past":
                return f"vor {n} {unit}", f"{count} {units} ago"
            return f"in {n} {unit}", f"in {count} {units}"
        if kind == "date":
            (nth, nth_english), (month, month_english) = ordinal(self.rng.randint(1, 31)), self.pair(MONTHS)
            return f"am {nth} {month}", f"on the {nth_english} of {month_english}"
        if kind == "day":
            (day, day_english), (part, part_english) = self.pair(WEEKDAYS), self.pick([("", ""), *pairs(DAY_PARTS)])
            return f"am {day}{part}", join("on", day_english, part_english)
        hour = self.rng.randint(2, 12)
        (german, english), (minutes, past) = number(hour), number(self.pick([5, 10, 20]))
        times = [
            (f"um {german} Uhr", f"at {english} o'clock"),
            (f"um halb {german}", f"at half past {ONES[hour - 1][1]}"),
            (f"um Viertel nach {german}", f"at a quarter past {english}"),
            (f"um Viertel vor {german}", f"at a quarter to {english}"),
            (f"um {minutes} nach {german}", f"at {past} past {english}"),
        ]
        return self.pick(times)

    # Noun phrases

    def determiner(self, plural: bool, owner: Phrase | None) -> Pair:
        """Stem and English of a determiner; the stem is "" before a bare plural."""
        if owner and owner.key and self.chance(0.25):
            *_, german, english = PRONOUNS[owner.key].split()
            return german, english
        if plural and self.chance(0.15):
            return "", ""
        return self.pair(PLURAL if plural else SINGULAR)

    def noun_phrase(
        self, kinds: str, stems: str = "", owner: Phrase | None = None, plural: bool | None = None
    ) -> Phrase:
        """A noun with a determiner out of stems (a table), or else any; an owner may give a possessive."""
        kind, noun = self.noun(kinds)
        plural = self.chance(0.3) if plural is None else plural
        gender = "p" if plural else noun.gender
        stem, article = self.pair(stems) if stems else self.determiner(plural, owner)
        count = self.number() if plural and not stems and self.chance(0.3) else ("", "")
        if count[0]:
            stem, article = "", count[1]
        owning = self.noun_phrase("family staff", "der the, mein my") if stem == "der" and self.chance(0.1) else None
        if owning:
            article = owning.english + ("'" if owning.english.endswith("s") else "'s")
        adjective = self.adjective(kind) if self.chance(0.4) else None
        degree = self.pair(DEGREES) if adjective and self.chance(0.1) else ("", "")
        german = [
            join(
                determiner(stem, gender, case) if stem else count[0],
                degree[0],
                adjective.stem + adjective_ending(stem, gender, case) if adjective else "",
                noun.german(case, plural),
                owning.german[GEN] if owning else "",
            )
            for case in (NOM, ACC, DAT, GEN)
        ]
        rest = join(degree[1], adjective.english if adjective else "", noun.english_plural if plural else noun.english)
        english = with_article(rest) if article == "a" else join(article, rest)
        human = kind in PEOPLE.split() and gender != "n"
        key = f"3{gender}" if human else ""
        return Phrase(tuple(german), english, english, gender, key, stem in DEFINITE, stem == "kein")

    def name(self) -> Phrase:
        gender = self.pick("mf")
        if self.chance(0.4):
            first = self.pick((MEN if gender == "m" else WOMEN).split())
            return Phrase((first,) * 3, first, first, gender, f"3{gender}")
        surname = self.pick(SURNAME_STARTS.split()) + self.pick(SURNAME_ENDS.split())
        german, title = (("Herr", "Herrn", "Herrn"), "Mr") if gender == "m" else (("Frau",) * 3, "Ms")
        english = f"{title} {surname}"
        return Phrase(tuple(f"{word} {surname}" for word in german), english, english, gender, f"3{gender}")

    def person(self, pronouns: float = 0.3) -> Phrase:
        """Someone who does something."""
        if self.chance(pronouns):
            return pronoun(self.pick(list(PRONOUNS)))
        return self.name() if self.chance(0.3) else self.noun_phrase(PEOPLE)

    def prepositional(self, preposition: Pair) -> Pair:
        """A preposition with the dative of a place."""
        place = self.noun_phrase("places", "der the, der the, ein a, dies this", plural=False)
        return contract(preposition[0], place.german[DAT]), f"{preposition[1].replace('_', ' ')} {place.english}"

    # Clauses

    def transitive(self, subject: Phrase, kinds: str, negative: float = 0) -> Clause:
        """A clause with an accusative object of one of the classes, which is negative with some probability."""
        kind = self.pick(kinds.split())
        verb = self.verb(self.pick([verbs for classes, verbs in TRANSITIVE.items() if kind in classes.split()]))
        if kind in PEOPLE.split() and self.chance(0.3):
            third = subject.key and subject.person == 3
            other = pronoun(self.pick(["1s", "2s", "1p", "2p"])) if third else self.name()
            return Clause(subject, verb, objects=((ACC, other),))
        if self.chance(negative):
            plural = self.chance(0.4)
            thing = self.noun_phrase(kind, KEIN[plural], plural=plural)
        else:
            thing = self.noun_phrase(kind, owner=subject)
        return Clause(subject, verb, objects=((ACC, thing),))

    def bare_clause(self, subject: Phrase, negative: float = 0) -> Clause:
        """A verb with its complements."""
        frames = {"transitive": 10, "dative": 2, "ditransitive": 3, "preposition": 3, "motion": 3, "intransitive": 3}
        frame = self.rng.choices(list(frames), list(frames.values()))[0]
        if frame == "dative":
            return Clause(subject, self.verb(DATIVE), objects=((DAT, self.noun_phrase(PEOPLE, owner=subject)),))
        if frame == "ditransitive":
            receiver = self.name() if self.chance(0.3) else self.noun_phrase(PEOPLE, owner=subject)
            thing = self.noun_phrase(f"{GOODS} food")
            return Clause(subject, self.verb(DITRANSITIVE), objects=((DAT, receiver), (ACC, thing)))
        if frame == "preposition":
            kinds = self.pick(list(PREPOSITIONAL))
            preposition, case, *_ = entry = self.pick(entries(PREPOSITIONAL[kinds])).split(" ", 2)
            thing = self.noun_phrase(kinds, owner=subject)
            german = contract(preposition, thing.german[ACC if case == "ACC" else DAT])
            return Clause(subject, self.verb(entry[2]), complement=(german, thing.english))
        if frame == "motion":
            city, city_english = self.pair(CITIES)
            there = (f"nach {city}", f"to {city_english}") if self.chance(0.5) else self.prepositional(("zu", "to"))
            return Clause(subject, self.verb(MOTION), complement=there)
        if frame == "intransitive":
            return Clause(subject, self.verb(INTRANSITIVE))
        return self.transitive(subject, " ".join(NOUNS), negative)

    def action(self, subject: Phrase) -> Clause:
        """A bare clause of what one can decide to do."""
        clause = self.bare_clause(subject)
        while clause.verb.english.split()[0] in STATIVE:
            clause = self.bare_clause(subject)
        return clause

    def adorn(self, clause: Clause, tense: str = "") -> Clause:
        """The clause in a tense ("past", "present", "future" or any), with adverbs or negation."""
        tense = tense or self.pick(["past", "past", "present", "future"])
        stative = clause.verb.english.split()[0] in STATIVE
        tense = "present" if stative and tense == "future" else tense
        negative = any(phrase.negative for _, phrase in clause.objects)
        if not negative and not clause.passive and self.chance(0.12):
            negative = clause.subject.definite and all(phrase.definite for _, phrase in clause.objects)
            clause = replace(clause, nicht=negative)
        if not clause.passive and not stative and self.chance(0.2):
            modals = [modal for modal, (*_, past) in MODALS.items() if past or tense != "past"]
            if negative and tense != "past":
                modals.remove("must")  # "muss nicht" is not "must not"
            clause = replace(clause, modal=self.pick(modals))
        if tense == "past":
            preterite = clause.modal or clause.passive or (clause.subject.person == 3 and self.chance(0.35))
            clause = replace(clause, tense="preterite" if preterite else "perfect")
            if self.chance(0.4):
                clause = replace(clause, time=self.time("past"))
        elif clause.modal:
            if self.chance(0.3):
                clause = replace(clause, time=self.time("future"))
        elif tense == "future":
            werden = not clause.passive and self.chance(0.4)
            clause = replace(clause, aspect="will", tense="werden" if werden else "present")
            if not werden:
                clause = replace(clause, time=self.time("future"))
        elif not negative and not clause.passive and self.chance(0.3):
            clause = replace(clause, often=self.pair(OFTEN))
        else:
            clause = replace(clause, aspect="simple" if stative else "progressive")
            if not stative and self.chance(0.3):
                clause = replace(clause, time=self.time("now"))
        if stative or negative or clause.complement[0]:
            return clause
        if self.chance(0.12):
            return replace(clause, place=self.prepositional(self.pair(PREPOSITIONS)))
        return replace(clause, manner=self.pair(MANNER)) if self.chance(0.12) else clause

    def clause(self, subject: Phrase | None = None, tense: str = "") -> Clause:
        return self.adorn(self.bare_clause(subject or self.person(), 0.08), tense)

    # Sentences

    def statement(self) -> Pair:
        clause = self.clause()
        if self.chance(0.12):
            german, english = self.pair(COMMENTS)
            return finish((clause.main(german), f"{english}, {clause.english()}"))
        if clause.time[0] and self.chance(0.4):
            rest = replace(clause, time=("", ""))
            english = f"{clause.time[1]}, {rest.english()}" if self.chance(0.85) else clause.english()
            return finish((rest.main(clause.time[0]), english))
        return finish((clause.main(), clause.english()))

    def fronted_object(self) -> Pair:
        """The object first, where its case shows."""
        named = self.chance(0.3)
        subject = self.name() if named else self.noun_phrase(PEOPLE, "der the, der the, mein my", plural=False)
        kinds = " ".join(kind for kind in NOUNS if kind not in PEOPLE.split())
        clause = self.adorn(self.transitive(subject, kinds))
        while (german := clause.objects[0][1].german)[ACC] == german[NOM]:
            clause = self.adorn(self.transitive(subject, kinds))
        return finish((replace(clause, objects=()).main(german[ACC]), clause.english()))

    def second_subject(self, first: Phrase) -> Phrase:
        """Someone else, or a pronoun for the first."""
        return pronoun(first.key) if first.key and self.chance(0.5) else self.person()

    def two_clauses(self) -> Pair:
        tense = self.pick(["past", "past", "present"])
        one = self.clause(tense=tense)
        two = self.clause(self.second_subject(one.subject), tense)
        if self.chance(0.25):
            german, english = self.pick([(", aber", ", but"), (" und", " and")])
            return finish((f"{one.main()}{german} {two.main()}", f"{one.english()}{english} {two.english()}"))
        german, english = self.pair(CONJUNCTIONS)
        if self.chance(0.35):
            return finish((two.main(one.final(german) + ","), f"{english} {one.english()}, {two.english()}"))
        return finish((f"{one.main()}, {two.final(german)}", f"{one.english()} {english} {two.english()}"))

    def conditional(self) -> Pair:
        one = self.bare_clause(self.person())
        two = self.bare_clause(self.second_subject(one.subject))
        if self.chance(0.5):
            two = replace(two, tense="werden")
        if self.chance(0.7):
            return finish((two.main(one.final("wenn") + ","), f"if {one.english()}, {two.english()}"))
        return finish((f"{two.main()}, {one.final('wenn')}", f"{two.english()} if {one.english()}"))

    def reported(self) -> Pair:
        if self.chance(0.25):
            german, english = self.pick([
                ("ich weiß nicht", "I do not know"),
                ("niemand weiß", "nobody knows"),
                ("wir möchten wissen", "we would like to know"),
            ])  # fmt: skip
            inner, whether = self.clause(), self.pick(["whether", "if"])
            return finish((f"{german}, {inner.final('ob')}", f"{english} {whether} {inner.english()}"))
        matrix = Clause(self.person(), self.verb(SAYING), tense=self.pick(["present", "perfect"]))
        inner = self.clause(self.second_subject(matrix.subject), "past" if matrix.past else "")
        return finish((f"{matrix.main()}, {inner.final('dass')}", f"{matrix.english()} that {inner.english()}"))

    def relative_subject(self) -> Pair:
        """A subject with a relative clause in which it is the subject as well."""
        plural = not self.chance(0.7)
        head = self.noun_phrase(PEOPLE, "der the" if plural else "der the, dies this", plural=plural)
        inner = self.clause(relative_pronoun(head, human=True))
        german = f"{head.german[NOM]}, {inner.final()},"
        subject = replace(head, german=(german,), english=f"{head.english} {inner.english()}")
        clause = self.clause(subject)
        return finish((clause.main(), clause.english()))

    def relative_object(self) -> Pair:
        """A noun phrase with a relative clause in which it is the object."""
        kind = self.pick(list(NOUNS))
        human = kind in PEOPLE.split()
        plural = self.chance(0.3)
        head = self.noun_phrase(kind, "der the", plural=plural)
        relative = relative_pronoun(head, human)
        if human and self.chance(0.4):
            case, inner = DAT, self.adorn(Clause(self.person(0.5), self.verb(DATIVE)))
        else:
            case, inner = ACC, self.adorn(replace(self.transitive(self.person(0.5), kind), objects=()))
        german, english = self.pick([
            (f"das {form(SEIN, 3, plural)}", "these are" if plural else "this is"),
            (f"wo {form(SEIN, 3, plural)}", f"where {form(BE, 3, plural)}"),
        ])  # fmt: skip
        sentence = (
            f"{german} {head.german[NOM]}, {inner.final(relative.german[case])}",
            f"{english} {head.english} {relative.english_object} {inner.english()}",
        )
        return finish(sentence, "?" if english.startswith("where") else ".")

    def infinitive(self) -> Pair:
        subject = self.person()
        tense = self.pick(["perfect", "preterite" if subject.person == 3 else "perfect", "present"])
        matrix = Clause(subject, self.verb(TRYING), tense)
        if matrix.verb.english not in STATIVE:
            matrix = replace(matrix, aspect="progressive")
        inner = self.action(subject)
        return finish((f"{matrix.main()}, {inner.infinitive()}", f"{matrix.english()} to {inner.english_infinitive()}"))

    def purpose(self) -> Pair:
        clause = self.clause()
        inner = self.action(clause.subject)
        if self.chance(0.3):
            lead, purpose = "ohne", f"without {inner.english_infinitive(gerund)}"
        else:
            lead, purpose = "um", f"{self.pick(['to', 'in order to'])} {inner.english_infinitive()}"
        return finish((f"{clause.main()}, {inner.infinitive(lead)}", f"{clause.english()} {purpose}"))

    def yes_no_question(self) -> Pair:
        clause = self.clause()
        return finish((clause.question(), clause.english(question=True)), "?")

    def wh_question(self) -> Pair:
        kind = self.pick(["wann", "warum", "wo", "wer", "was", "welch", "wie viele"])
        tense = self.pick(["past", "past", "future" if kind == "wann" else "present"])
        if kind == "wer":
            clause = self.clause(Phrase(("wer",), "who", "whom", "m"))
            return finish((clause.main(), clause.english()), "?")
        if kind in ("wann", "warum", "wo"):
            clause = replace(self.clause(tense=tense), time=("", ""), place=("", ""))
            english = {"wann": "when", "warum": "why", "wo": "where"}[kind]
            if kind == "wo":
                clause = self.adorn(self.transitive(self.person(), GOODS), "past")
                clause = replace(clause, place=("", ""), nicht=False)
            return finish((clause.main(kind), f"{english} {clause.english(question=True)}"), "?")
        thing = self.pick(f"{GOODS} food".split())
        clause = replace(self.adorn(self.transitive(self.person(), thing), tense), objects=(), time=("", ""))
        german, english = "was", "what"
        if kind != "was":
            plural = kind != "welch" or self.chance(0.3)
            asked = self.noun_phrase(thing, "welch which" if kind == "welch" else "viel many", plural=plural)
            german, english = asked.german[ACC], asked.english
            if kind == "wie viele":
                german, english = f"wie {german}", f"how {english}"
        return finish((clause.main(german), f"{english} {clause.english(question=True)}"), "?")

    def imperative(self) -> Pair:
        clause = self.action(Phrase(("Sie",), "you", "you", "p"))
        verb = clause.verb
        german = join(verb.infinitive, "Sie", *clause.german_middle(), verb.prefix)
        return finish((german, clause.english_infinitive()), "!")

    def passive(self) -> Pair:
        kind = self.pick(list(NOUNS))
        verb = self.transitive(self.name(), kind).verb
        agent = self.person(0.15) if self.chance(0.5) else None
        by = (contract("von", agent.german[DAT]), f"by {agent.english_object}") if agent else ("", "")
        clause = Clause(self.noun_phrase(kind), verb, passive=True, complement=by)
        clause = self.adorn(clause, self.pick(["past", "past", "present", "future"]))
        return finish((clause.main(), clause.english()))

    def comparison(self) -> Pair:
        kind = self.pick(list(NOUNS))
        one, two = self.noun_phrase(kind), self.noun_phrase(kind)
        past = self.chance(0.3)
        german = f"{one.german[NOM]} {form(WAR if past else SEIN, 3, one.plural)}"
        english = f"{one.english} {form(WERE if past else BE, 3, one.plural)}"
        adjective = self.adjective(kind)
        if adjective.comparative and self.chance(0.5):
            german += f" {adjective.comparative} als {two.german[NOM]}"
            english += f" {adjective.english_comparative} than {two.english}"
        elif self.chance(0.4):
            german += f" genauso {adjective.german} wie {two.german[NOM]}"
            english += f" as {adjective.english} as {two.english}"
        else:
            degree, in_english = self.pick([*pairs(DEGREES), ("nicht", "not"), ("zu", "too")])
            german += f" {degree} {adjective.german}"
            english += f" {in_english} {adjective.english}"
        return finish((german, english))

    def there_is(self) -> Pair:
        plural = self.chance(0.5)
        stems = "viel many, einig some, mehrer several" if plural else "ein a"
        thing = self.noun_phrase(f"{GOODS} {PEOPLE} animals", stems, plural=plural)
        place, place_english = self.prepositional(self.pair(PREPOSITIONS))
        past = self.chance(0.3)
        verb, object_ = "gab" if past else "gibt", thing.german[ACC]
        german = f"{place} {verb} es {object_}" if self.chance(0.5) else f"es {verb} {object_} {place}"
        return finish((german, f"there {form(WERE if past else BE, 3, plural)} {thing.english} {place_english}"))

    def price(self) -> Pair:
        n, english = self.number((2, 99), (100, 999))
        euros = Phrase((f"{n} Euro",) * 3, f"{english} euros", f"{english} euros", "p")
        clause = Clause(self.noun_phrase(f"{GOODS} food"), read_verbs("kosten = cost/cost")[0], objects=((ACC, euros),))
        clause = replace(clause, tense=self.pick(["present", "perfect", "preterite", "werden"]))
        return finish((clause.main(), clause.english()))

    def age(self) -> Pair:
        who = self.name() if self.chance(0.3) else self.noun_phrase(PEOPLE)
        n, english = self.number((20, 99))
        past = self.chance(0.3)
        german = f"{who.german[NOM]} {form(WAR if past else SEIN, 3, who.plural)} {n} Jahre alt"
        return finish((german, f"{who.english} {form(WERE if past else BE, 3, who.plural)} {english} years old"))


# ---------------------------------------------------------------------------------------------------------------------
# The corpus.


def distinct_pairs(draw: Callable[[], Pair], count: int) -> list[Pair]:
    """Pairs in which no sentence occurs twice on either side; ValueError where draw has no more of them."""
    found: list[Pair] = []
    seen: tuple[set[str], set[str]] = set(), set()
    tries = 0
    while len(found) < count:
        german, english = draw()
        tries += 1
        if german not in seen[0] and english not in seen[1]:
            found.append((german, english))
            seen[0].add(german)
            seen[1].add(english)
            tries = 0
        elif tries == MOST_TRIES:
            raise ValueError(f"{count} sentences asked for; the grammar gave {len(found)} and then nothing new")
    return found


def write_corpus(out: Path, pairs_of: dict[str, list[Pair]]) -> None:
    """Write OUT/SPLIT.{de,en} for every split: all of them or nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for split, split_pairs in pairs_of.items():
            for side, language in enumerate(("de", "en")):
                lines = "".join(f"{pair[side]}\n" for pair in split_pairs)
                (temporary / f"{split}.{language}").write_text(lines, encoding="utf-8", newline="\n")
        temporary.chmod(0o755)
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary)
        raise


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; must not exist")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another corpus (default: 1)")
    for split, size in SPLITS.items():
        parser.add_argument(f"--{split}", type=int, default=size, metavar="N", help=f"sentences (default: {size})")
    args = parser.parse_args(arguments)
    sizes = {split: getattr(args, split) for split in SPLITS}
    try:
        for split, size in sizes.items():
            if size < 1:
                raise ValueError(f"--{split} {size}: must be at least 1")
        total = sum(sizes.values())
        if total > MOST_SENTENCES:
            raise ValueError(f"{total} sentences asked for; at most {MOST_SENTENCES} can be had")
        if args.out.exists():
            raise ValueError(f"{args.out} exists already")
        drawn = iter(distinct_pairs(Grammar(args.seed).sentence, total))
        write_corpus(args.out, {split: list(islice(drawn, size)) for split, size in sizes.items()})
    except (OSError, ValueError) as error:
        sys.exit(f"make_demo_corpus: {error}")
    sizes_in_words = ", ".join(f"{size} {split}" for split, size in sizes.items())
    sys.stdout.write(f"{args.out}: {sizes_in_words} sentence pairs, seed {args.seed}\n")


if __name__ == "__main__":
    main()
