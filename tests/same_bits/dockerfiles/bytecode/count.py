import lab

print(len(lab.WORDS))
