using System.CommandLine;
using Subquartic.Generation;

namespace Subquartic.Cli;

/// <summary>Classes on the command line: numbers, names, or "none" for a picture without a class.</summary>
internal static class ClassOption
{
    /// <summary>A picture without a class.</summary>
    public const string None = "none";

    // The released demonstration draws these: volcano, lighthouse, bald eagle, fountain (VAR demo_sample.ipynb).
    private static readonly int[] Demonstration = [980, 437, 22, 562];

    // Models with so few classes show all of them.
    private const int MaxShown = 16;
    private const int MaxCandidates = 8;

    /// <summary>An option that takes several classes.</summary>
    /// <param name="defaults">What help says about its default.</param>
    public static Option<string[]?> Create(string defaults) => new("--class", "-c")
    {
        Description = $"What to draw: names or numbers of classes, or '{None}'. Several may be given, also with commas. {defaults}",
        HelpName = "name|number",
        AllowMultipleArgumentsPerToken = true,
        CustomParser = result => [.. result.Tokens.SelectMany(token => token.Value.Split(',', StringSplitOptions.TrimEntries))],
    };

    /// <summary>The labels that the option asks for.</summary>
    /// <param name="texts">Value of the option; null or empty when it was not given.</param>
    /// <param name="classes">Classes of the model.</param>
    /// <param name="known">Their names, or null.</param>
    /// <param name="defaults">What not giving it means; null for the reference demo's classes, or all or the first ones of other models.</param>
    /// <exception cref="UserException">The model has no such class.</exception>
    public static int[] Labels(string[]? texts, int classes, ClassNames? known, string[]? defaults = null)
    {
        if (texts is not { Length: > 0 })
        {
            texts = defaults ?? [.. (known == ClassNames.ImageNet ? Demonstration : Enumerable.Range(0, Math.Min(classes, MaxShown))).Select(i => $"{i}")];
        }

        ClassNames names = known ?? new ClassNames([.. Enumerable.Range(0, classes).Select(i => (string[])[$"{i}"])]);
        return [.. texts.Select(text => text.Equals(None, StringComparison.OrdinalIgnoreCase) ? classes
            : names.Find(text) is var match && match.Number is { } number ? number
            : throw new UserException($"--class {Explain(text, match, names, known is not null)}", ExitCode.Usage))];
    }

    /// <summary>What to call a label.</summary>
    public static string Name(int label, LoadedModel model) =>
        label == model.Generator.Transformer.Config.Classes ? None : model.ClassNames?.Name(label) ?? $"class {label}";

    private static string Explain(string text, ClassMatch match, ClassNames names, bool named)
    {
        string listed = string.Join(", ", match.Candidates.Take(MaxCandidates).Select(i => $"{names.Name(i)} ({i})"));
        string more = match.Candidates.Count > MaxCandidates ? $" and {match.Candidates.Count - MaxCandidates} more" : "";
        return match switch
        {
            { IsAmbiguous: true } => $"'{text}' fits several classes: {listed}{more}",
            { Candidates.Count: > 0 } when named => $"'{text}': there is no such class; did you mean {listed}?",
            _ when !named => $"{text}: the model has the classes 0 to {names.Count - 1}, without names",
            _ when names.Count <= MaxShown => $"'{text}': there is no such class; there are {string.Join(", ", Enumerable.Range(0, names.Count).Select(names.Name))}",
            _ => $"'{text}': there is no such class; give a number up to {names.Count - 1} or a name such as '{names.Name(0)}'",
        };
    }
}
