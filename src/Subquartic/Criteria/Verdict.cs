namespace Subquartic.Criteria;

/// <summary>Answer of a criterion. It has three states, and none of them is the negation of another.</summary>
public enum Verdict
{
    /// <summary>Neither shown nor refuted.</summary>
    Unknown,

    /// <summary>Shown, for every input.</summary>
    Holds,

    /// <summary>Refuted, by an input that was seen.</summary>
    Fails,
}
