from setuptools import Extension, setup

setup(
    name="tool",
    version="1.0",
    packages=["tool"],
    ext_modules=[Extension("tool.fast", ["fast.c"])],
    entry_points={"console_scripts": ["tool = tool:main"]},
)
