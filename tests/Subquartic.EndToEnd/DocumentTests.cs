using System.Text.RegularExpressions;

namespace Subquartic.EndToEnd;

public sealed partial class DocumentTests
{
    [Fact]
    public void Links_between_documents_lead_somewhere()
    {
        string docs = Path.Combine(CommandLineProcess.Repository, "docs");
        (string File, string Target)[] links =
        [
            .. Directory.EnumerateFiles(docs, "*.md", SearchOption.AllDirectories).SelectMany(file => Link().Matches(File.ReadAllText(file)).Select(match => (file, match.Groups[1].Value))),
        ];
        Assert.NotEmpty(links);
        Assert.All(links, link => Assert.True(Path.Exists(Path.Combine(Path.GetDirectoryName(link.File)!, link.Target)), $"{link.File}: {link.Target}"));
    }

    [Fact]
    public void Statements_that_the_code_refers_to_exist()
    {
        string theory = File.ReadAllText(Path.Combine(CommandLineProcess.Repository, "docs", "theory.md"));
        int[] statements = [.. Statement().Matches(theory).Select(match => int.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture))];
        Assert.Equal(Enumerable.Range(1, statements.Length), statements);
        string[] references =
        [
            .. Directory.EnumerateFiles(Path.Combine(CommandLineProcess.Repository, "src"), "*.cs", SearchOption.AllDirectories)
                .SelectMany(file => Reference().Matches(File.ReadAllText(file)).SelectMany(match => Number().Matches(match.Groups[1].Value)).Select(match => match.Value)),
        ];
        Assert.NotEmpty(references);
        Assert.All(references, reference => Assert.Contains(int.Parse(reference, System.Globalization.CultureInfo.InvariantCulture), statements));
    }

    [GeneratedRegex(@"\]\((?!https?:)([^)#]+)")]
    private static partial Regex Link();

    [GeneratedRegex(@"(?m)^## (\d+)\.")]
    private static partial Regex Statement();

    // "docs/theory.md, statements 4, 5 and 7", which may go on after a line of a doc comment.
    [GeneratedRegex(@"theory\.md,[\s/]+statements?[\s/]+([\d, and]+)")]
    private static partial Regex Reference();

    [GeneratedRegex(@"\d+")]
    private static partial Regex Number();
}
