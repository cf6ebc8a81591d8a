"""What approximate methods and their judge are worth: one program per question, real models, minutes on two cores."""
