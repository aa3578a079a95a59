"""What customers ask: per document a fact that a right answer holds, and ways to ask for it.

The first ways use the words of the document; those under `hard` are how people ask who never read it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One thing that customers ask about."""

    document: str
    #: stands in a right answer
    fact: str
    easy: tuple[str, ...]
    hard: tuple[str, ...]


TOPICS = (
    Topic("returns", "30 days", (
        "How long can I return a product?", "Can I return an unused product after three weeks?",
        "What do I have to do to return something?",
    ), ("The spade is too short for me. How do I send it home to you?",)),
    Topic("refunds", "within 7 days", (
        "When do you pay the price back after a return has reached you?",
        "When do I get the money back for a return?",
    ), ("You have my chair again. Where is my cash?",)),
    Topic("delivery", "3 to 5 working days", (
        "How many working days until an order is delivered?", "What is the delivery time of plants?",
    ), ("When will the roses get here?", "How fast are you?")),
    Topic("postage", "4.90 euros", (
        "How much are the shipping costs?", "From how many euros on do you ship free of charge?",
    ), ("What is the fee for sending a small order?",)),
    Topic("tracking", "tracking number", (
        "Where do I see where my parcel is?", "I have no tracking number of my parcel. When do I get it?",
        "My tracking number shows nothing. Can you search for the parcel?",
    ), ("Has it left yet? I would like to follow it.",)),
    Topic("warranty", "24 months", (
        "How long is the warranty of a hedge trimmer?", "Is there a warranty on the motor?",
    ), ("The mower stopped after a year. Is it covered?",)),
    Topic("payment", "credit card", (
        "Can I pay by PayPal?", "Which ways of paying are there? Bank transfer?",
        "Can our school pay on invoice?",
    ), ("Do you take Visa?",)),
    Topic("cancel", "60 minutes", (
        "How do I cancel an order?", "Can an order still be cancelled that I placed an hour ago?",
    ), ("I ordered the wrong thing just now, stop it please!",)),
    Topic("vouchers", "36 months", (
        "How long is a gift card valid?", "Can I use a gift card in several orders?",
    ), ("I found a present coupon from my aunt in a drawer. Still good?",)),
    Topic("account", "2 hours", (
        "I forgot the password of my account.", "The link for a new password does not work any more.",
    ), ("I can't log in.",)),
    Topic("newsletter", "last line", (
        "How do I unsubscribe from the newsletter?", "Please take me off the newsletter.",
    ), ("Stop sending me those e-mails with offers!",)),
    Topic("opening", "9 am to 6 pm", (
        "What are the opening hours of the shop?", "Is the shop open on Saturday?",
    ), ("Can I come by at five o'clock?",)),
    Topic("plants", "60 days", (
        "My plant died. Is it replaced?", "Is there a guarantee on a plant?",
    ), ("The lavender has withered already!",)),
    Topic("discount", "10 percent", (
        "Is there a discount for large orders?", "Does a school get a discount?",
    ), ("We buy for six hundred. Can you do something about the price?",)),
    Topic("invoice", "PDF", (
        "Where do I find the invoice of an order?", "Can I have the invoice of last year as a PDF?",
    ), ("My accountant wants the papers for May.",)),
    Topic("damaged", "48 hours", (
        "A pot arrived broken. Where do I send pictures?", "The parcel was damaged. Do you replace it?",
    ), ("There is a crack in the bowl I got.",)),
)  # fmt: skip

__all__ = ["TOPICS", "Topic"]
