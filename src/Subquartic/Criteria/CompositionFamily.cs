namespace Subquartic.Criteria;

/// <summary>Composition of functions: with f and g given as tokens (i, f(i)) and (j, g(j)), answer g(f(x)) for every x. One layer of
/// ordinary attention cannot beyond small sizes (Peng, Narayanan and Papadimitriou 2024); one unit of third-order attention of four columns does.</summary>
/// <remarks>The score beta (cos(x - i) + cos(f(i) - j)) of angles 2 pi/m is trilinear, with its one maximum at i = x, j = f(x); the value of the pair is
/// g(j). beta = ln(1000 m^2)/(1 - cos(2 pi/m)) leaves at most 1/1000 of the weight to all other pairs.</remarks>
public sealed class CompositionFamily
{
    private readonly int[] _inner;
    private readonly int[] _outer;

    /// <summary>Draws two functions.</summary>
    /// <param name="size">m, at least 3: both map 0 … m - 1 to itself.</param>
    /// <param name="seed">Seed.</param>
    public CompositionFamily(int size, int seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 3);
        var random = new Random(seed);
        _inner = [.. Enumerable.Range(0, size).Select(_ => random.Next(size))];
        _outer = [.. Enumerable.Range(0, size).Select(_ => random.Next(size))];
        Beta = Math.Log(1000.0 * size * size) / (1 - Math.Cos(2 * Math.PI / size));
    }

    /// <summary>f.</summary>
    public IReadOnlyList<int> Inner => _inner;

    /// <summary>g.</summary>
    public IReadOnlyList<int> Outer => _outer;

    /// <summary>Half the largest score.</summary>
    public double Beta { get; }

    /// <summary>The operands of third-order attention: m queries, two sets of m keys, one output column.</summary>
    /// <returns>The operands.</returns>
    public TensorProblem Problem()
    {
        int size = _inner.Length;
        double[,] queries = new double[size, 4], first = new double[size, 4], second = new double[size, 4], ones = new double[size, 1], values = new double[size, 1];
        for (int i = 0; i < size; i++)
        {
            (double sine, double cosine) = Math.SinCos(2 * Math.PI * i / size);
            (double innerSine, double innerCosine) = Math.SinCos(2 * Math.PI * _inner[i] / size);
            (queries[i, 0], queries[i, 1], queries[i, 2], queries[i, 3]) = (Beta * cosine, Beta * sine, Beta, Beta);
            (first[i, 0], first[i, 1], first[i, 2], first[i, 3]) = (cosine, sine, innerCosine, innerSine);
            (second[i, 0], second[i, 1], second[i, 2], second[i, 3]) = (1, 1, cosine, sine);
            (ones[i, 0], values[i, 0]) = (1, _outer[i]);
        }

        return new TensorProblem(queries, [first, second], [ones, values]);
    }

    /// <summary>How many answers an output, rounded, gives rightly.</summary>
    /// <param name="output">(m, 1).</param>
    /// <returns>A share, 0 to 1.</returns>
    public double Accuracy(double[,] output)
    {
        ArgumentNullException.ThrowIfNull(output);
        return Enumerable.Range(0, _inner.Length).Average(x => Math.Round(output[x, 0]) == _outer[_inner[x]] ? 1.0 : 0);
    }
}
