"""A quick password hash that a real server can check too: Django's own algorithm, with one iteration."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    iterations = 1
