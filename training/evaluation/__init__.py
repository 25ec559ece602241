"""What a model gets right on photos it hasn't seen, however it is served, and a page that shows it.

target     what can be evaluated: photos' bytes in, answers out
answers    asking a target, and comparing two
measure    figures with intervals, from labels and probabilities alone
evaluate   the work, start to end
history    what the run's folder says about its training
charts, gallery, card, publish    what people look at
"""
