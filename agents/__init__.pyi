from .base import Agent as Agent
