"""The operator's front door: `main.py` names the commands, every other page is one of them or what several share."""
