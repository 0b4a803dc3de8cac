package lb

// Score is quality on the scale of the R factor (ITU-T G.107): 93 is the best that telephone speech
// reaches, 80 satisfies, below 60 nearly everybody complains. Negative is Unknown.
type Score float64

// Unknown is the score of what has not been measured.
const Unknown Score = -1
