"""What happens during the act?

Classifier, threat intelligence, enforcement ladder, cases and appeals. Guards only tighten.
"""
