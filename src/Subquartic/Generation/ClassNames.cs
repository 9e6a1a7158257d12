using System.Globalization;

namespace Subquartic.Generation;

/// <summary>What <see cref="ClassNames.Find"/> made of a text.</summary>
/// <param name="Number">The class, or null when none or several fit.</param>
/// <param name="Candidates">When <paramref name="Number"/> is null: the classes that fit, or when <paramref name="IsAmbiguous"/>
/// is false, those whose names are spelled most alike.</param>
/// <param name="IsAmbiguous">Whether several classes fit.</param>
public readonly record struct ClassMatch(int? Number, IReadOnlyList<int> Candidates, bool IsAmbiguous);

/// <summary>The names of a model's classes, in the order of their labels.</summary>
public sealed class ClassNames
{
    private const int MaxSuggestions = 8;

    private static readonly Lazy<ClassNames> LazyImageNet = new(ReadImageNet);

    private readonly IReadOnlyList<IReadOnlyList<string>> _names;

    /// <summary>Names for classes.</summary>
    /// <param name="names">One or more names of each class, the usual one first.</param>
    public ClassNames(IReadOnlyList<IReadOnlyList<string>> names) => _names = names;

    /// <summary>The 1000 classes of ImageNet-1k (ILSVRC 2012) in the order every released model uses: by WordNet number. Names
    /// are the synonyms of WordNet.</summary>
    public static ClassNames ImageNet => LazyImageNet.Value;

    /// <summary>Number of classes.</summary>
    public int Count => _names.Count;

    /// <summary>The first name of a class, as "golden retriever".</summary>
    /// <param name="number">0 to <see cref="Count"/> - 1.</param>
    /// <returns>The name.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no such class.</exception>
    public string Name(int number) => Synonyms(number)[0];

    /// <summary>All names of a class, as "tench" and "Tinca tinca".</summary>
    /// <param name="number">0 to <see cref="Count"/> - 1.</param>
    /// <returns>At least one name.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There is no such class.</exception>
    public IReadOnlyList<string> Synonyms(int number)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)number, (uint)Count, nameof(number));
        return _names[number];
    }

    /// <summary>Finds a class by number, by one of its names, or by words of a name. Case does not matter; '_' and '-' count as
    /// spaces. A whole name wins over words within one ("tiger" is class 292, though there is a tiger cat), and those over
    /// beginnings of words.</summary>
    /// <param name="text">As "207", "golden retriever" or "volcan".</param>
    /// <returns>The class, or what to suggest.</returns>
    public ClassMatch Find(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number < Count)
        {
            return new ClassMatch(number, [], false);
        }

        string query = Normalize(text);
        if (query.Length == 0)
        {
            return new ClassMatch(null, [], false);
        }

        foreach (Func<string, bool> fits in new Func<string, bool>[]
            {
                name => name == query,
                name => $" {name} ".Contains($" {query} ", StringComparison.Ordinal),
                name => $" {name}".Contains($" {query}", StringComparison.Ordinal),
            })
        {
            int[] found = [.. Enumerable.Range(0, Count).Where(i => _names[i].Any(name => fits(Normalize(name))))];
            if (found.Length > 0)
            {
                return found.Length == 1 ? new ClassMatch(found[0], [], false) : new ClassMatch(null, found, true);
            }
        }

        int[] nearest = [.. Enumerable.Range(0, Count)
            .Select(i => (Class: i, Distance: _names[i].Min(name => EditDistance(Normalize(name), query))))
            .Where(x => x.Distance <= (query.Length + 1) / 3)
            .OrderBy(x => x.Distance)
            .Take(MaxSuggestions)
            .Select(x => x.Class)];
        return new ClassMatch(null, nearest, false);
    }

    private static string Normalize(string name) =>
        string.Join(' ', name.ToLowerInvariant().Split([' ', '_', '-', '\''], StringSplitOptions.RemoveEmptyEntries));

    /// <summary>Insertions, deletions and replacements of a letter that turn one text into the other (Levenshtein).</summary>
    private static int EditDistance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(replaced, 1 + Math.Min(row[j], row[j - 1]));
            }
        }

        return row[b.Length];
    }

    private static ClassNames ReadImageNet()
    {
        using Stream stream = typeof(ClassNames).Assembly.GetManifestResourceStream("ImageNetClasses.txt")!;
        using var reader = new StreamReader(stream);
        return new ClassNames([.. reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(", "))]);
    }
}
