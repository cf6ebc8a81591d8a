"""Webhooks, the part that needs no database and no network: what is told, to whom it may go, signed how, tried how often.

`event` is the CloudEvents document, `standard` its signature (Standard Webhooks v1), `address` the guard that keeps this
service from calling into private networks, and `delivery` the life of one delivery and the pauses between its attempts.
"""
