using System.Collections.Concurrent;

namespace Subquartic.Attention;

/// <summary>What low-rank attention needs for the tokens of the head at hand and nothing after it: one for all heads, which pass one at a time.</summary>
internal sealed class LowRankScratch : IDisposable
{
    private readonly ConcurrentBag<BlockWorkspace> _workspaces = [];

    /// <summary>Results of measuring passes, task by task.</summary>
    public double[] Partials = [];

    /// <summary>log w_j of the keys.</summary>
    public double[] Exponents = [];

    /// <summary>Whether a key is an outlier.</summary>
    public bool[] IsOutlier = [];

    /// <summary>Class of every query.</summary>
    public byte[] Classes = [];

    /// <summary>Tallies of the classes, task by task.</summary>
    public LowRankPlan.ClassTally[] Tallies = [];

    /// <summary>Queries in the order they are answered in, those of equal degree together.</summary>
    public int[] Order = [];

    /// <summary>Sums over the keys of a task, task by task.</summary>
    public double[] Sums = [];

    /// <summary>Moments over alpha!, in float32 (r, C).</summary>
    public float[] Moments = [];

    /// <summary>How the rows are served.</summary>
    public LowRankPlan Plan { get; } = new();

    /// <summary>Rows that are computed exactly, ascending.</summary>
    public List<int> ExactRows { get; } = [];

    /// <summary>Makes an array long enough; its values are lost when it grows.</summary>
    public static void Resize<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            array = new T[length];
        }
    }

    /// <summary>An array of just this length, cleared.</summary>
    public static void Renew<T>(ref T[] array, int length)
    {
        if (array.Length != length)
        {
            array = new T[length];
        }

        Array.Clear(array);
    }

    /// <summary>Memory for a thread; give it back.</summary>
    public BlockWorkspace Rent() => _workspaces.TryTake(out BlockWorkspace? work) ? work : new BlockWorkspace();

    /// <summary>Takes memory back.</summary>
    public void Return(BlockWorkspace work) => _workspaces.Add(work);

    public void Dispose()
    {
        while (_workspaces.TryTake(out BlockWorkspace? work))
        {
            work.Dispose();
        }
    }
}
