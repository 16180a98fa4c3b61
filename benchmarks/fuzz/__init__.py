"""Damaged and hostile inputs, made by chance: does every command give a right result or one sentence?"""
