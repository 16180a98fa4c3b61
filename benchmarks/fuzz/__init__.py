"""Randomly damaged and hostile inputs: does every command give a correct result, or one sentence?"""
