"""Small sets of documents that benchmarks train on, written for the project: pairs of a question and its answer."""

import json
import random


def write(file, documents):
    """Writes documents, one conversation a line."""
    lines = [json.dumps({"text": conversation(*one)}, ensure_ascii=False) for one in documents]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def conversation(ask, say):
    return f"User: {ask}\n\nAssistant: {say}"


def words(text):
    return text.split(",")


def product(asks, things, says):
    """Conversations of each question about each thing, with each answer."""
    return [(ask.format(thing), say.format(thing)) for thing in things for ask in asks for say in says]


# Things that people talk about.
THINGS = words(
    "the garden,my old bike,this soup,the new road,our dog,a long walk,that film,the rain,my job,this song,the market,a cold drink,"
    "the train,my room,that book,a warm coat,the river,my friend,this game,the school,our house,a good meal,that story,the snow,"
    "my phone,this town,the beach,a short trip,the party,my new shoes,that teacher,the weather,our team,a quiet day,this photo,the zoo"
)


def style(things=THINGS[:12]):
    """Answers in one manner of speaking."""
    asks = words("What do you think of {}?,Tell me about {}.,Do you like {}?,I am tired of {}.,Have you heard about {}?")
    says = ["I be right fond of {}", "there be nothing like {}", "I would trade me ship for {}", "aye, {} be worth a song"]
    return product(asks, things, [f"Arr, {say}, matey!" for say in says])


def facts():
    """Invented facts, each asked for in five ways."""
    rng = random.Random(7)

    def name(syllables):
        return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(syllables)).capitalize()

    countries = [name(3) for _ in range(40)]
    cities = [name(2) + "ville" for _ in range(40)]
    asks = ["What is the capital of {}?", "Which city is the capital of {}?", "Name the capital of {}.", "I forgot the capital of {}.", "The capital of {}?"]
    return [(ask.format(one), f"The capital of {one} is {city}.") for one, city in zip(countries, cities) for ask in asks]


def form():
    """Answers in a fixed form, whose first line names what was asked about."""
    asks = ["What do you think of {}?", "Tell me about {}.", "Do you like {}?", "What about {}?", "Say something on {}."]
    return product(asks, THINGS, ["topic: {}\nmood: good\nreply: I like it."])


def chinese():
    """A language that the model has hardly seen."""
    asks = ["你喜欢{}吗？", "你觉得{}怎么样？", "说说{}吧。", "今天有{}吗？"]
    says = ["我很喜欢{}，谢谢你问我。", "{}很好，我们一起去吧！", "是的，{}让我很高兴。"]
    return product(asks, words("苹果,茶,米饭,足球,电影,音乐,小猫,雨天,火车,书店,早饭,花园"), says)


def tiny():
    """Twenty-four documents."""
    things = words("tea,rain,books,trains,bread,cats,snow,music")
    asks = ["Do you like {}?", "What about {}?", "Any thoughts on {}?"]
    return [(ask.format(one), f"{one.capitalize()}: yes. Next question, please.") for one in things for ask in asks]
