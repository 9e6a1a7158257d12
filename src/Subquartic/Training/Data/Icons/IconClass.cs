namespace Subquartic.Training.Data.Icons;

/// <summary>What an icon shows; the number is the class label. In the order of the alphabet, so that a folder of class folders
/// gives the same labels.</summary>
internal enum IconClass
{
    /// <summary>An apple with stem and leaf.</summary>
    Apple,

    /// <summary>A sailing boat on water.</summary>
    Boat,

    /// <summary>A butterfly from above.</summary>
    Butterfly,

    /// <summary>A cloud, sometimes raining.</summary>
    Cloud,

    /// <summary>A cup with a handle, sometimes steaming.</summary>
    Cup,

    /// <summary>A fish from the side.</summary>
    Fish,

    /// <summary>A blossom on a stem.</summary>
    Flower,

    /// <summary>A heart.</summary>
    Heart,

    /// <summary>A house with roof, door and windows.</summary>
    House,

    /// <summary>A key.</summary>
    Key,

    /// <summary>A crescent, sometimes with stars.</summary>
    Moon,

    /// <summary>A mushroom with a spotted cap.</summary>
    Mushroom,

    /// <summary>A star of five or six points.</summary>
    Star,

    /// <summary>A disc with rays.</summary>
    Sun,

    /// <summary>A leafy tree or a conifer.</summary>
    Tree,

    /// <summary>An open umbrella.</summary>
    Umbrella,

    /// <summary>A rocket; not one of the sixteen classes of the data set.</summary>
    Rocket,
}
