#!/bin/bash
exec python3 -I /tests/ladder.py
