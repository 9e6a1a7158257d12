using System.Text;

namespace Subquartic.Reports.Analysis;

/// <summary>A <see cref="ModelAnalysis"/> as Markdown: the tables of the page, and maps in letters.</summary>
public static class AnalysisMarkdown
{
    // Steps of half an octave around the limit: the middle letter is at it.
    private const string Shades = ".:-=+*%#@";

    /// <summary>Writes the report.</summary>
    /// <param name="analysis">The analysis.</param>
    /// <returns>The document.</returns>
    public static string Write(ModelAnalysis analysis)
    {
        ArgumentNullException.ThrowIfNull(analysis);
        var text = new StringBuilder();
        text.Append("# Attention of ").Append(analysis.Model.Name).Append("\n\n");
        foreach (string line in AnalysisWords.Lead(analysis))
        {
            text.Append(line).Append("\n\n");
        }

        foreach ((string figure, string words, _) in AnalysisWords.Tiles(analysis))
        {
            text.Append("- **").Append(figure).Append("** ").Append(words).Append('\n');
        }

        Section(text, "Scores, head by head", "Rows are layers, columns heads; B against log n, a letter for each factor of 1.41: `" + Shades + "`, the middle one at log n.");
        foreach (IGrouping<int, HeadAnalysis> scale in analysis.Heads.GroupBy(head => head.Scale))
        {
            text.Append("```\nscale ").Append(scale.Key + 1).Append(": ").Append(scale.First().Queries).Append(" queries, ").Append(scale.First().Keys).Append(" keys\n");
            foreach (IGrouping<int, HeadAnalysis> layer in scale.GroupBy(head => head.Layer))
            {
                text.Append(string.Concat(layer.Select(head => Shade(head.LeastScore / analysis.Model.ScoreLimit)))).Append('\n');
            }

            text.Append("```\n");
        }

        Section(text, "Larger pictures", AnalysisWords.Sizes);
        Table(text, AnalysisWords.SizeHead, AnalysisWords.SizeRows(analysis));
        Section(text, "The strategies at work", AnalysisWords.Operators(analysis));
        Table(text, AnalysisWords.OperatorHead, AnalysisWords.OperatorRows(analysis));
        Section(text, "The same pictures with approximate attention", AnalysisWords.Agreement(analysis));
        Table(text, AnalysisWords.AgreementHead, AnalysisWords.AgreementRows(analysis));
        Section(text, "The decoder's attention", AnalysisWords.Decoder);
        Table(text, AnalysisWords.HeadHead, analysis.Decoder.Select(head => AnalysisWords.HeadRow(head, $"block {head.Layer + 1}")));
        Section(text, "Every head of the last scale", AnalysisWords.Steps.Split(" Each thin")[0]);
        Table(text, AnalysisWords.HeadHead, AnalysisPictures.Last(analysis).Select(head => AnalysisWords.HeadRow(head, $"layer {head.Layer + 1}, head {head.Head + 1}")));
        Section(text, "How this was measured, and what is assumed", string.Join("\n\n", AnalysisWords.Method(analysis)));
        foreach ((string name, string meaning) in AnalysisWords.Terms)
        {
            text.Append("- **").Append(name).Append("**: ").Append(meaning).Append('\n');
        }

        return text.ToString();
    }

    private static char Shade(double ratio) => Shades[(int)Math.Clamp(Math.Round((2 * Math.Log2(ratio)) + (Shades.Length / 2)), 0, Shades.Length - 1)];

    private static void Section(StringBuilder text, string title, string words) => text.Append("\n## ").Append(title).Append("\n\n").Append(words).Append("\n\n");

    private static void Table(StringBuilder text, IEnumerable<string> head, IEnumerable<IEnumerable<object>> rows)
    {
        string[] columns = [.. head];
        text.Append("| ").AppendJoin(" | ", columns).Append(" |\n|").Insert(text.Length, "---|", columns.Length).Append('\n');
        foreach (IEnumerable<object> row in rows)
        {
            text.Append("| ").AppendJoin(" | ", row.Select(cell => $"{cell}".Replace("|", "\\|", StringComparison.Ordinal))).Append(" |\n");
        }
    }
}
